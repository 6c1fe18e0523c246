#!/usr/bin/env bash
# Make the update of a release: RAUC's bundle, and latest.json beside it, in a folder that machines ask.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-~/.cache}/gateway
source provisioning/lib.sh

usage='Usage: image/bundle.sh [--keys DIR] [--to DIR] [FOLDER]

Makes the update to the release that image/build.sh made in FOLDER (default: ./build/image): a bundle in format
verity of root.erofs and boot.vfat for the machine and the version of release.json, and latest.json with its
signature, which offers it. Serve the folder of --to over HTTPS, or put it on a USB stick: it is a release feed.

  --keys DIR   the keys of releases (default: ./release-keys); gateway release new-keys makes them
  --to DIR     where to (default: FOLDER/feed)
  -h, --help   show this

Refuses a release that was built without keys or with other ones, with exit code 5, since no machine would keep it.

The rauc of the builder that image/build.sh makes is used, else that of this machine.

Examples:
  image/bundle.sh
  image/bundle.sh --keys /media/stick/release-keys --to /srv/releases/rpi4 build/image'

keys=release-keys to='' folder=''
while (($#)); do
    case $1 in
    --keys | --to)
        (($# > 1)) || stop 2 "$1 wants a value." "$usage"
        printf -v "${1#--}" '%s' "$(from_caller "$2")"
        shift
        ;;
    -h | --help) echo "$usage" && exit ;;
    -*) stop 2 "\"$1\" is not an argument of bundle.sh." "$usage" ;;
    *)
        [[ ! $folder ]] || stop 2 "There is one FOLDER, and not also \"$1\"." "$usage"
        folder=$(from_caller "$1")
        ;;
    esac
    shift
done
folder=${folder:-build/image} to=${to:-${folder:-build/image}/feed}
for file in "$folder"/{release.json,root.erofs,boot.vfat} "$keys"/update.{key,cert}.pem; do
    [[ -r $file ]] || stop 2 "There is no $file to read: image/build.sh makes a release, gateway release new-keys its keys."
done
[[ -x .venv/bin/gateway ]] || stop 4 "The gateway is not in .venv: run provisioning/venv.sh first."

value() { # value KEY: of the manifest, which is one line of JSON with known keys
    sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$folder/release.json"
}
name=$(value name) version=$(value version) machine=$(value machine)
root=$(sed -n 's/.*"root":{"sha256":"\([0-9a-f]*\)".*/\1/p' "$folder/release.json")
echo "$root  $folder/root.erofs" | sha256sum --check --quiet ||
    stop 5 "$folder/root.erofs is not the root that $folder/release.json names: build both again."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/content" "$work/boot"
command -v mcopy >/dev/null || stop 4 "There is no mcopy: apt-get install mtools"
mcopy -i "$folder/boot.vfat" ::release.json ::release.json.sig ::approval.cbor "$work/boot/" 2>/dev/null ||
    stop 5 "The release in $folder was built without keys, and machines could not open their keys to it:" \
        "build it again with image/build.sh --keys $keys."
openssl x509 -in "$keys/update.cert.pem" -noout -pubkey >"$work/update.pub.pem"
openssl dgst -sha256 -verify "$work/update.pub.pem" -signature "$work/boot/release.json.sig" \
    "$work/boot/release.json" >/dev/null 2>&1 ||
    stop 5 "The release in $folder was built with other keys than those in $keys."
echo "Making the bundle of $name"
# "img" is what RAUC writes to a device as it is; it does not know erofs.
cp --reflink=auto --sparse=always "$folder/root.erofs" "$work/content/root.img"
cp --reflink=auto --sparse=always "$folder/boot.vfat" "$work/content/boot.vfat"
cat >"$work/content/manifest.raucm" <<END
[update]
compatible=gateway-$machine
version=$version

[bundle]
format=verity

[image.rootfs]
filename=root.img

[image.boot]
filename=boot.vfat
END
cp "$keys"/update.{key,cert}.pem "$work/"

bundle() { # bundle PREFIX...: run rauc where the builder has it, or here
    "$@" rauc --keyring="$place/update.cert.pem" --cert="$place/update.cert.pem" --key="$place/update.key.pem" \
        bundle "$place/content" "$place/bundle.raucb" >"$work/log" 2>&1 ||
        stop 1 "RAUC did not make the bundle:" "$(<"$work/log")"
}
builder=''
for candidate in "$cache"/image/builder-*; do
    [[ ! -x $candidate/usr/bin/rauc || ! -x $candidate/usr/bin/mksquashfs ]] || builder=$candidate
done
if ((EUID == 0)) && [[ $builder ]]; then
    place=/mnt
    # shellcheck disable=SC2016
    bundle unshare --mount bash -euc '
        mount --bind "$2" "$1/mnt"
        mount -t tmpfs tmpfs "$1/tmp"
        mount -t proc proc "$1/proc" # RAUC hashes what it has open by /proc/self/fd
        exec chroot "$1" "${@:3}"' - "$builder" "$work"
elif command -v rauc >/dev/null && command -v mksquashfs >/dev/null; then
    place=$work
    bundle
else
    stop 4 "There is no rauc: run this with sudo after image/build.sh, or apt-get install rauc squashfs-tools"
fi

mkdir -p "$to"
mv "$work/bundle.raucb" "$to/$name.raucb"
chmod 0644 "$to/$name.raucb"
.venv/bin/gateway release feed --keys "$keys" --manifest "$folder/release.json" "$to/$name.raucb"
echo "$to/$name.raucb: $(($(stat -c %s "$to/$name.raucb") / 1000000)) MB"
