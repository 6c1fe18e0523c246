#!/usr/bin/env bash
# Build the image for a Raspberry Pi, or the root that the tests boot with systemd-nspawn.
#
# This half runs on any Debian 12 or 13 and only prepares: a builder, which is a Debian 13 of its own in a folder,
# and a copy of the sources. What makes the image is inside.sh, which runs in the builder, so that no tool's
# version and no name, zone or user of this machine reaches the result.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-~/.cache}/gateway
source provisioning/lib.sh

usage='Usage: sudo image/build.sh [--out DIR] [--arch arm64 | --arch amd64 --variant ci | --variant tpm]
                            [--keys DIR] [--update-packages]

Builds the image of the gateway for a Raspberry Pi 4: gateway-VERSION.img, its signed manifest, its SBOM and their
SHA-256 sums. The same sources and keys give the same bytes.

  --out DIR           where to (default: ./build/image)
  --arch arm64        for the Pi (the default)
  --arch amd64 --variant ci
                      for tests: the same root for this machine, a folder for systemd-nspawn, of the newest packages
  --variant tpm       for tests: a second disk for image/vm.py, with a TPM in software
  --keys DIR          the keys of releases (default: ./release-keys); gateway release new-keys makes them. Without
                      any, the image takes no updates, and its keys are bound to no release
  --update-packages   take the newest Debian packages, and write their versions to image/packages.*.txt;
                      otherwise the versions in these files are used
  -h, --help          show this

A build that was interrupted goes on where it was: what is ready lies in ~/.cache/gateway/image, which may be
deleted. The mirror is the one that this machine installs from, or DEBIAN_MIRROR (and SECURITY_MIRROR).

Examples:
  sudo image/build.sh
  sudo image/build.sh --out /srv/images --update-packages
  sudo image/build.sh --arch amd64 --variant ci
  sudo DEBIAN_MIRROR=http://mirror.example/debian image/build.sh'

out=build/image arch=arm64 variant=pi keys=release-keys update=''
while (($#)); do
    case $1 in
    --out | --arch | --variant | --keys)
        (($# > 1)) || stop 2 "$1 wants a value." "$usage"
        printf -v "${1#--}" '%s' "$2"
        case $1 in --out | --keys) printf -v "${1#--}" '%s' "$(from_caller "$2")" ;; esac
        shift
        ;;
    --update-packages) update=yes ;;
    -h | --help) echo "$usage" && exit ;;
    *) stop 2 "\"$1\" is not an argument of build.sh." "$usage" ;;
    esac
    shift
done
case $arch/$variant in
arm64/pi) steps=10 ;;
arm64/tpm) steps=5 ;;
amd64/ci) steps=6 ;;
*) stop 2 "There is no --variant $variant for --arch $arch." "$usage" ;;
esac
((EUID == 0)) || stop 4 "Building takes root, to make a Debian in a folder: use sudo image/build.sh"
umask 022

# --- the mirror

mirror_of() { # mirror_of LABEL: from where this machine's apt has its packages
    apt-get indextargets --format "\$(LABEL) \$(REPO_URI)" 'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
        sed -n "s/^$1 //p" | head -n 1
}

find_mirror() {
    debian_mirror=${DEBIAN_MIRROR:-$(mirror_of Debian)}
    security_mirror=${SECURITY_MIRROR:-$(mirror_of Debian-Security)}
    [[ $debian_mirror ]] ||
        stop 2 "This machine's apt names no mirror of Debian: name one, such as DEBIAN_MIRROR=http://mirror.example/debian"
    security_mirror=${security_mirror:-${debian_mirror%/}-security}
}

# --- Debian roots

# What is in each root besides Debian's essential packages; the versions are in packages.NAME.txt.
compiler=(gcc libc6-dev libtss2-dev pkg-config python3-dev python3-venv)
builder=(arch-test ca-certificates curl dosfstools device-tree-compiler e2fsprogs erofs-utils gdisk genimage kmod mmdebstrap mtools
    qemu-user raspi-firmware rauc squashfs-tools zstd)

sources() {
    cat <<END
deb $debian_mirror trixie main non-free-firmware
deb $debian_mirror trixie-updates main non-free-firmware
deb $security_mirror trixie-security main non-free-firmware
END
}

make_builder() { # the Debian 13 in which everything else is made
    rm -rf "$place"
    mkdir -p "$cache/image"
    sources | mmdebstrap --variant=minbase --mode=root --format=directory --architectures=amd64 \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "3"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/bin/qemu-*' --dpkgopt='path-include=/usr/bin/qemu-aarch64' \
        --include="$(IFS=,; echo "${compiler[*]},${builder[*]}")" \
        ${pins:+--setup-hook="install -D -m 0644 $pins \"\$1\"/etc/apt/preferences.d/pins"} \
        trixie "$place.new" -
    mv "$place.new" "$place"
}

# --- running inside.sh

copy_sources() { # of what is committed or about to be, with the modes that git knows
    local file
    rm -rf "$work/src"
    mkdir -p "$work/src"
    git -c safe.directory="$PWD" ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do
            [[ ! -f $file ]] || printf '%s\0' "$file"
        done | tar --create --null --files-from=- |
        tar --extract --directory "$work/src"
    chmod -R u=rwX,go=rX "$work/src"
}

inside() { # inside FUNCTION ARGUMENT...: of inside.sh, in the builder
    local variables=(PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH="$epoch"
        ARCH="$arch" VARIANT="$variant" UPDATE="$update" DEBIAN_MIRROR="$debian_mirror" SECURITY_MIRROR="$security_mirror"
        SSL_CERT_FILE=/run/certificates.crt NODE_EXTRA_CA_CERTS=/run/certificates.crt)
    local name
    for name in http_proxy https_proxy no_proxy; do
        [[ ! ${!name-} ]] || variables+=("$name=${!name}")
    done
    # A namespace of mounts, processes and names of its own: nothing is left mounted, whatever happens.
    # shellcheck disable=SC2016
    unshare --mount --pid --uts --ipc --fork --kill-child bash -euc '
        place=$1 work=$2
        shift 2
        hostname builder
        mount --bind "$place" "$place"
        mount -t proc proc "$place/proc"
        mount -t sysfs -o ro sysfs "$place/sys"
        mount -t tmpfs tmpfs "$place/run"
        mount --rbind /dev "$place/dev"
        mkdir -p "$place/src" "$place/stage" "$place/opt"
        mount --bind "$work/src" "$place/src"
        mount --bind "$work" "$place/stage"
        mkdir -p "$work/opt"
        mount --bind "$work/opt" "$place/opt"
        cat /etc/resolv.conf >"$place/etc/resolv.conf"
        echo builder >"$place/etc/hostname"
        cat /etc/ssl/certs/ca-certificates.crt >"$place/run/certificates.crt"
        exec chroot "$place" env -i "$@"' - \
        "$place" "$work" "${variables[@]}" bash /src/image/inside.sh "$@"
}

# --- the release

copy_keys() { # those that the image has; the private ones stay where they are
    local name
    rm -rf "$work/keys"
    mkdir -p "$work/keys"
    for name in update.cert.pem approval.pub.pem; do
        [[ ! -e $keys/$name ]] || install -m 0644 "$keys/$name" "$work/keys/"
    done
}

write_manifest() { # into the boot partition, signed and approved where there are keys
    local boot=$work/card/boot
    .venv/bin/gateway release manifest --version "$version" --epoch "$epoch" --machine rpi4 \
        --root "$work/out/root.erofs" --boot "$boot" >"$work/release.json"
    mv "$work/release.json" "$boot/"
    [[ -e $keys/update.key.pem ]] || return 0
    .venv/bin/gateway release sign --keys "$keys" "$boot/release.json"
    .venv/bin/gateway release approve --keys "$keys" "$boot/release.json"
    chmod 0644 "$boot"/release.json* "$boot/approval.cbor"
}

give() { # what was made, to where the owner of the command wants it
    mkdir -p "$out"
    rm -f "$out"/gateway-*.img "$out"/gateway-*.zst "$out"/*.spdx.json
    cp --sparse=always --no-preserve=ownership "$work"/out/* "$out/"
    [[ ! $update ]] || cp "$work"/packages.*.txt image/
}

# --- the recipe

debian_packages '' "${base_packages[@]}" "${root_packages[@]}" git
find_python
step "Installer uv" "PyPI" get_uv
find_mirror
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' gateway/__init__.py)
[[ $variant != pi || -x .venv/bin/gateway ]] || stop 4 "The gateway is not in .venv: run provisioning/venv.sh first."
epoch=${SOURCE_DATE_EPOCH:-$(git -c safe.directory="$PWD" log -1 --format=%ct)}

pins=''
if [[ ! $update && $variant == pi && -s image/packages.builder.txt ]]; then
    pins=$cache/image/builder.pins
    mkdir -p "${pins%/*}"
    sed 's/^\([^=]*\)=\(.*\)/Package: \1\nPin: version \2\nPin-Priority: 1001\n/' image/packages.builder.txt >"$pins"
fi
place=$cache/image/builder-$(cat - ${pins:+"$pins"} <<<"${compiler[*]} ${builder[*]}" | sha256sum | cut -c1-12)
work=$cache/image/$arch
[[ ! $update ]] || rm -rf "$place" "$cache/image/$arch"
if [[ -d $place ]]; then
    step "The builder is in $place" '' true
else
    step "Make the builder, a Debian 13 in $place" "the Debian mirror" make_builder
fi
mkdir -p "$work"
if [[ $update ]]; then
    dpkg-query --admindir="$place/var/lib/dpkg" -W -f='${Package}=${Version}\n' | LC_ALL=C sort >"$work/packages.builder.txt"
fi
step "Copy the sources" '' copy_sources
install -D -m 0755 "$uv" "$work/uv"
copy_keys
if [[ $variant == tpm ]]; then
    step "A disk with a TPM" "the Debian mirror" inside tpm_disk
    echo "The disk is $work/tpm.ext4"
    exit
fi
step "The gateway's packages for $arch" "PyPI or npm's registry" inside program
step "Debian for $arch" "the Debian mirror" inside root
if [[ $variant == ci ]]; then
    echo "The root is in $work/root"
    exit
fi
step "The root and the boot partition" '' inside boot
step "The manifest of the release" '' write_manifest
step "The image" '' inside card
step "Put it into $out" '' give
[[ -e $keys/update.key.pem ]] ||
    echo "There are no keys in $keys: this image takes no updates, and its keys are bound to no release."
(cd "$out" && ls -l --block-size=MB gateway-*)
