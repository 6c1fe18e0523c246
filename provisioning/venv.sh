#!/usr/bin/env bash
# Make .venv from uv.lock, with the command .venv/bin/gateway, and install the Debian packages that it needs.
# Quick and harmless when everything is there.
#
#   provisioning/venv.sh [--software-root] [PART...]
#
# PART is `household`, `provider`, `registrar`, `centre` or `fleet`, what that part of the program needs, or a
# dependency group of pyproject.toml, `try` or `test`. --software-root leaves out everything that a TPM needs.
set -euo pipefail
cd "$(dirname "$0")/.."

steps=3
source provisioning/lib.sh

packages=("${base_packages[@]}" "${tpm_packages[@]}")
tpm=(tpm)
groups=()
for argument in "$@"; do
    case $argument in
    --software-root)
        packages=("${base_packages[@]}")
        tpm=()
        ;;
    household | provider | registrar | centre | fleet | try | test) groups+=("$argument") ;;
    -h | --help)
        sed -n '2,/^set/{/^#/!d;s/^# \{0,1\}//;p}' "$0"
        exit 0
        ;;
    *) stop 2 "\"$argument\" is not an argument of venv.sh: use --software-root, household, provider, registrar, centre, fleet, try and test." ;;
    esac
done

debian_packages '' "${packages[@]}"
find_python
step "Installer uv" "PyPI" get_uv
virtual_environment "${tpm[@]}" "${groups[@]}"
