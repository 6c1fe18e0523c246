#!/usr/bin/env bash
# Build the image, boot it in QEMU as an owner boots a card, and measure it. It takes an hour; CI does not run it.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-~/.cache}/gateway
source provisioning/lib.sh

usage='Usage: sudo image/test.sh [--image FILE] [--keys DIR] [--board BOARD] [--update] [--cuts N] [--json]

Boots the image under an emulated board with a TPM in software, a simulated meter on its serial line and an S3 server
outside, until a provider opens what it sealed. Then it boots a second time, and once with the card in another board,
which must open nothing.

  --image FILE  this image, instead of the one that image/build.sh builds now
  --keys DIR    the keys of its release (default: ./release-keys); without any, new ones are made in build/test-keys
  --board B     virt, the default, or raspi3b, which is a Raspberry Pi 3 and takes several times as long
  --update      then also update it to a release of a higher version, which must be kept, and to a third one that
                seals nothing, which must be left
  --cuts N      then also cut the power N times at random moments of a first boot, and with --update of an update
  --json        print the figures as JSON
  -h, --help    show this

Examples:
  sudo image/test.sh
  sudo image/test.sh --update --cuts 10 --json'

image='' keys=release-keys update='' arguments=()
while (($#)); do
    case $1 in
    --image | --keys | --board | --cuts)
        (($# > 1)) || stop 2 "$1 wants a value." "$usage"
        case $1 in
        --image) image=$(from_caller "$2") ;;
        --keys) keys=$(from_caller "$2") ;;
        *) arguments+=("$1" "$2") ;;
        esac
        shift
        ;;
    --update) update=yes ;;
    --json) arguments+=(--json) ;;
    -h | --help) echo "$usage" && exit ;;
    *) stop 2 "\"$1\" is not an argument of test.sh." "$usage" ;;
    esac
    shift
done
[[ ! $image || -r $image ]] || stop 2 "There is no image to read at $image."
((EUID == 0)) || stop 4 "Building takes root: use sudo image/test.sh"

next_release() { # next_release VERSION FEED: build it from these sources, and offer it in a feed
    local sources=$cache/image/next
    rm -rf "$sources" "$2"
    git clone --quiet . "$sources"
    sed -i "s/^__version__ = .*/__version__ = \"$1\"/" "$sources/gateway/__init__.py"
    git -C "$sources" -c user.name=test -c user.email=test@example.org commit --quiet --all --message "Version $1"
    ln -s "$PWD/.venv" "$sources/.venv" # for the commands that sign
    "$sources/image/build.sh" --keys "$keys" --out "$sources/build/image"
    image/bundle.sh --keys "$keys" --to "$2" "$sources/build/image"
    arguments+=(--feed "$2")
}

steps=1
debian_packages '' qemu-system-arm "${image_packages[@]}" openssh-client
[[ -d $keys ]] || keys=build/test-keys
keys=$(realpath -m "$keys")
[[ -d $keys ]] || .venv/bin/gateway release new-keys --keys "$keys"
if [[ ! $image ]]; then
    image/build.sh --keys "$keys"
    image=$(echo build/image/gateway-*.img)
fi
if [[ $update ]]; then
    next_release 9998.0.0 build/feed-kept
    next_release 9999.0.0 build/feed-left
fi
image/build.sh --variant tpm
exec .venv/bin/python image/check.py --image "$image" --tpm "$cache/image/arm64/tpm.ext4" --folder build/machine \
    ${arguments[@]+"${arguments[@]}"}
