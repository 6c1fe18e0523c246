#!/usr/bin/env bash
# See the gateway work, without hardware: a simulated home, a TPM, an S3 server, the gateway and one provider,
# until Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."

usage='Usage: ./provisioning/try.sh [--once] [--software-root]

Installs what is missing, then runs on this machine a simulated home, a TPM, an
S3 server, the gateway, and one provider that was granted one-minute sums. As
each minute closes, it shows what the provider opened beside what the meter
really showed, what the owner of the S3 server sees of it, and what the provider
gets when it asks for finer sums. All of it is removed at the end.

  --once           end after the first minute, with exit code 0 if and only if
                   the sums agree
  --software-root  do without a TPM and its packages, which take root to install

Examples:
  ./provisioning/try.sh                         until Ctrl-C, a line a minute
  ./provisioning/try.sh --once                  one to two minutes
  ./provisioning/try.sh --once --software-root  without root, without a TPM'

tpm=tpm
for argument in "$@"; do
    case $argument in
    --once) ;;
    --software-root) tpm='' ;;
    -h | --help) echo "$usage" && exit ;;
    *) printf '%s\n' "\"$argument\" is not an argument of try.sh." "$usage" >&2 && exit 2 ;;
    esac
done

steps=3
source provisioning/lib.sh

if [[ $tpm ]]; then
    debian_packages "Or do without a TPM: ./provisioning/try.sh --software-root $*" \
        "${base_packages[@]}" "${tpm_packages[@]}" "${swtpm_packages[@]}"
else
    debian_packages '' "${base_packages[@]}"
fi
find_python
step "Installer uv" "PyPI" get_uv
virtual_environment try ${tpm:+tpm}
exec .venv/bin/python provisioning/try.py "$@"
