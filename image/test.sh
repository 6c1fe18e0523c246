#!/usr/bin/env bash
# Build the image, boot it in QEMU as an owner boots a card, and measure it. It takes minutes; CI does not run it.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-~/.cache}/gateway
source provisioning/lib.sh

usage='Usage: sudo image/test.sh [--image FILE] [--cuts N] [--json]

Boots the image under an emulated board with a TPM in software, a simulated meter on its serial line and an S3 server
outside, until a provider opens what it sealed. Then it boots a second time, and once with the card in another board,
which must open nothing.

  --image FILE  this image, instead of the one that image/build.sh builds now
  --cuts N      then also cut the power N times at random moments of a first boot (default: 0)
  --json        print the figures as JSON
  -h, --help    show this

Examples:
  sudo image/test.sh
  sudo image/test.sh --cuts 10 --json'

image='' arguments=()
while (($#)); do
    case $1 in
    --image | --cuts)
        (($# > 1)) || stop 2 "$1 wants a value." "$usage"
        if [[ $1 == --image ]]; then image=$2; else arguments+=("$1" "$2"); fi
        shift
        ;;
    --json) arguments+=(--json) ;;
    -h | --help) echo "$usage" && exit ;;
    *) stop 2 "\"$1\" is not an argument of test.sh." "$usage" ;;
    esac
    shift
done
[[ ! $image || -r $image ]] || stop 2 "There is no image to read at $image."
((EUID == 0)) || stop 4 "Building takes root: use sudo image/test.sh"

steps=1
debian_packages '' qemu-system-arm "${image_packages[@]}" openssh-client
if [[ ! $image ]]; then
    image/build.sh
    image=$(echo build/image/gateway-*.img)
fi
image/build.sh --variant tpm
exec .venv/bin/python image/check.py --image "$image" --tpm "$cache/image/arm64/tpm.ext4" --folder build/machine \
    ${arguments[@]+"${arguments[@]}"}
