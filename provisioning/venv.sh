#!/usr/bin/env bash
# Lay out .venv from uv.lock, so that .venv/bin/gateway is the command, and install the Debian packages that
# it needs. Quick and harmless when all is there.
#
#   provisioning/venv.sh [--software-root] [GROUP...]
#
# GROUP is a dependency group of pyproject.toml, `try` or `test`. --software-root leaves everything out that
# has to do with a TPM.
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
    try | test) groups+=("$argument") ;;
    *) stop 2 "\"$argument\" is no argument of venv.sh: it takes --software-root, and the groups try and test." ;;
    esac
done

debian_packages '' "${packages[@]}"
find_python
step "Installer uv" "PyPI" get_uv
virtual_environment "${tpm[@]}" "${groups[@]}"
