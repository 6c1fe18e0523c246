#!/usr/bin/env bash
# The half of build.sh that runs in the builder, as `inside.sh FUNCTION`. /src has the sources, /stage what is made,
# /opt becomes the image's. Every program here is of the Debian 13 that the builder is.
# shellcheck disable=SC2016
set -euo pipefail
cd /src
umask 022

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' gateway/__init__.py)
program=/opt/gateway/$version
root=/stage/root
machine=rpi4 # in the release's manifest, and in RAUC's

# --- Debian in a folder

sources() {
    printf 'deb %s main non-free-firmware\n' "$DEBIAN_MIRROR trixie" "$DEBIAN_MIRROR trixie-updates" \
        "$SECURITY_MIRROR trixie-security"
}

emulate() { # let this machine run programs for arm64, by the builder's QEMU
    local entry=/proc/sys/fs/binfmt_misc/gateway-arm64
    local magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    local mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    [[ $ARCH == arm64 ]] || return 0
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    # F: the file is opened now, so that it is found from within another root.
    [[ -e $entry ]] || echo ":gateway-arm64:M::$magic:$mask:/usr/bin/qemu-aarch64:OPF" >/proc/sys/fs/binfmt_misc/register
}

debian() { # debian NAME PACKAGE...: a Debian of ARCH in /stage/NAME, of the versions in packages.NAME.txt
    local name=$1 list=image/packages.$1.txt pins=/stage/$1.pins arguments=() stamp
    shift
    emulate
    stamp=$({ cat "$list"; echo "$* $DEBIAN_MIRROR"; } 2>/dev/null | sha256sum)
    [[ ! -d /stage/$name || $UPDATE || $(cat "/stage/$name.stamp" 2>/dev/null) != "$stamp" ]] || return 0
    rm -rf "/stage/$name" "/stage/$name.new"
    mkdir -p "/stage/debs/$name"
    if [[ ! $UPDATE && $VARIANT == pi && -s $list ]]; then
        sed 's/^\([^=]*\)=\(.*\)/Package: \1\nPin: version \2\nPin-Priority: 1001\n/' "$list" >"$pins"
        arguments+=(--setup-hook="install -D -m 0644 $pins \"\$1\"/etc/apt/preferences.d/pins"
            --customize-hook="rm \"\$1\"/etc/apt/preferences.d/pins")
    fi
    # INITRD: the kernel's package makes no initramfs, as what goes into it is not there yet.
    sources | INITRD=No mmdebstrap --variant=minbase --mode=root --format=directory --architectures="$ARCH" \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "3"' \
        --aptopt='Acquire::Languages "none"' --dpkgopt=force-confold --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
        --skip=essential/unlink --skip=cleanup/apt/cache \
        --setup-hook="mkdir -p \"\$1\"/var/cache/apt/archives && cp -al /stage/debs/$name/. \"\$1\"/var/cache/apt/archives/" \
        --customize-hook="find \"\$1\"/var/cache/apt/archives -name '*.deb' -exec cp --link --update=none -t /stage/debs/$name {} +" \
        "${arguments[@]}" --include="$(IFS=,; echo "$*")" trixie "/stage/$name.new" -
    versions "/stage/$name.new" >"/stage/$name.versions"
    if [[ $UPDATE ]]; then
        cp "/stage/$name.versions" "/stage/packages.$name.txt"
    elif [[ ${arguments[*]} ]] && ! diff "$list" "/stage/$name.versions"; then
        echo "The mirror no longer has the versions of $list (<): run image/build.sh --update-packages, or name a mirror"
        echo "that has them, such as a snapshot, in DEBIAN_MIRROR and SECURITY_MIRROR."
        return 2
    fi
    mv "/stage/$name.new" "/stage/$name"
    echo "$stamp" >"/stage/$name.stamp"
}

versions() { # versions ROOT: its packages, as package=version
    dpkg-query --admindir="$1/var/lib/dpkg" -W -f='${Package}=${Version}\n' | LC_ALL=C sort
}

# --- the gateway

compiler=(ca-certificates gcc libc6-dev libtss2-dev pkg-config python3-dev python3-venv)

program() { # the virtual environment, as install.sh makes it, in /opt/gateway
    local platform=aarch64-manylinux_2_39
    [[ $ARCH == arm64 ]] || platform=x86_64-manylinux_2_39
    wheel
    rm -rf /opt/gateway
    # The wheels are of ARCH; the interpreter that uv asks is the builder's, of the same version and place.
    UV_CACHE_DIR=/stage/uv-cache UV_LINK_MODE=copy npm_config_cache=/stage/npm UV_PYTHON=/usr/bin/python3 \
        UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=true UV_PROJECT_ENVIRONMENT=$program \
        /stage/uv sync --frozen --no-editable --no-default-groups --extra household --reinstall-package gateway \
        --no-install-package tpm2-pytss --python-platform "$platform"
    UV_CACHE_DIR=/stage/uv-cache UV_LINK_MODE=copy \
        /stage/uv pip install --python "$program/bin/python" --no-deps --no-index --python-platform "$platform" \
        /stage/wheel/*.whl
    ln -sfn "$program" /opt/gateway/current
    # What differs from build to build, or is of use only to an installer.
    rm -f "$program"/lib/python3*/site-packages/*.dist-info/uv_cache.json "$program"/.lock "$program"/.gitignore
    sed -i '/\.dist-info\/uv_cache\.json,/d' "$program"/lib/python3*/site-packages/*.dist-info/RECORD
    find "$program" -name __pycache__ -prune -exec rm -rf {} +
    touch "$program/complete"
}

wheel() { # of tpm2-pytss, which has none: compiled for ARCH, in a place of the same name each time
    local stamp url hash place=/ # the builder has the compiler for its own kind
    stamp=$({ cat image/wheel.txt image/packages.compiler.txt; grep -A 12 '^name = "tpm2-pytss"' uv.lock; } 2>/dev/null | sha256sum)
    [[ ! -s /stage/wheel/stamp || $UPDATE || $(</stage/wheel/stamp) != "$stamp" ]] || return 0
    if [[ $ARCH != amd64 ]]; then
        place=/stage/compiler
        debian compiler "${compiler[@]}"
        mount --bind /proc "$place/proc"
        mount --bind /dev "$place/dev"
        cat /etc/resolv.conf >"$place/etc/resolv.conf"
    fi
    rm -rf "$place/build" /stage/wheel
    mkdir "$place/build" /stage/wheel
    url=$(sed -n '/^name = "tpm2-pytss"/,/^$/s/^sdist = { url = "\([^"]*\)".*/\1/p' uv.lock)
    hash=$(sed -n '/^name = "tpm2-pytss"/,/^$/s/^sdist = .* hash = "sha256:\([^"]*\)".*/\1/p' uv.lock)
    curl --silent --show-error --fail --retry 3 --output "$place/build/sdist.tar.gz" "$url"
    echo "$hash  $place/build/sdist.tar.gz" | sha256sum --check
    cp image/wheel.txt "$place/build/"
    cp "$SSL_CERT_FILE" "$place/build/certificates.crt"
    chroot "$place" env PIP_CERT=/build/certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1 LDFLAGS=-s sh -euxc '
        cd /build
        python3 -m venv pip
        pip/bin/pip install --require-hashes --only-binary :all: -r wheel.txt
        mkdir source # its path is in the compiled file
        tar -xzf sdist.tar.gz -C source --strip-components 1
        PATH=/build/pip/bin:$PATH pip/bin/pip wheel --no-deps --no-build-isolation ./source'
    mv "$place"/build/*.whl /stage/wheel/
    rm -rf "$place/build"
    echo "$stamp" >/stage/wheel/stamp
}

# --- the root

# Each with what it is for.
packages=(
    systemd systemd-sysv systemd-resolved systemd-timesyncd udev dbus kmod login procps # the system
    iproute2 nftables netbase ca-certificates avahi-daemon libnss-mdns                  # the network
    python3 libtss2-{rc0t64,tctildr0t64,policy0t64,tcti-spi-helper0t64,esys-3.0.2-0t64} tpm-udev # the gateway, and its TPM
    openssh-server                                                                      # only if a key is given
    rauc rauc-service openssl                                                           # updates
)
board=(
    linux-image-arm64 initramfs-tools busybox zstd systemd-repart e2fsprogs # the kernel, and what makes the data partition
    gpiod                                                                   # resets the TPM
    wpasupplicant wireless-regdb firmware-brcm80211                         # Wi-Fi of a Pi
    systemd-zram-generator                                                  # swap in memory
)

root() {
    [[ $VARIANT == ci ]] || packages+=("${board[@]}")
    debian base "${packages[@]}"
    rm -rf "$root.new"
    cp -a /stage/base "$root.new"
    finish "$root.new"
    rm -rf "$root"
    mv "$root.new" "$root"
}

finish() { # finish ROOT: Debian becomes the gateway
    local root=$1 site
    # Users as install.sh makes them, with numbers of their own: they own files that outlive a release.
    chroot "$root" sh -euc '
        groupadd --system --gid 900 gateway
        useradd --system --uid 900 --gid 900 --home-dir /var/lib/gateway --no-create-home --shell /usr/sbin/nologin \
            --groups dialout,tss gateway
        groupadd --system --gid 901 gateway-household
        useradd --system --uid 901 --gid 901 --home-dir /var/lib/gateway-household --no-create-home \
            --shell /usr/sbin/nologin --groups gateway gateway-household
        groupadd --system --gid 902 gateway-updater
        useradd --system --uid 902 --gid 902 --home-dir /var/lib/gateway-updater --no-create-home \
            --shell /usr/sbin/nologin --groups gateway gateway-updater
        usermod --lock root'
    cp -a /opt/gateway "$root/opt/"
    ln -s /opt/gateway/current/bin/gateway "$root/usr/local/bin/gateway"
    find systemd -name 'gateway*' ! -name 'gateway-registrar*' -exec install -m 0644 -t "$root/usr/lib/systemd/system" {} +
    cp -r --no-preserve=ownership image/root/. "$root/"
    sed -i "s/@MACHINE@/$machine/; s/@VERSION@/$version/" "$root/etc/rauc/system.conf"
    # Whose releases it takes, and to which it opens its root.
    for site in update.cert.pem approval.pub.pem; do
        [[ ! -e /stage/keys/$site ]] || install -m 0644 "/stage/keys/$site" "$root/usr/lib/gateway/$site"
    done
    {
        echo "IMAGE_ID=gateway"
        echo "IMAGE_VERSION=$version"
        echo "DEFAULT_HOSTNAME=gateway"
    } >>"$root/usr/lib/os-release"
    mkdir -p "$root"/{data,boot/config,boot/firmware,etc/gateway,etc/credstore.encrypted}
    ln -sfn /data/etc/hostname "$root/etc/hostname" # gateway-first-boot.service writes it
    printf '127.0.0.1 localhost\n127.0.1.1 gateway\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
    ln -sfn /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
    : >"$root/etc/machine-id"
    # Random, or of the machine that builds.
    rm -rf "$root"/etc/ssh/ssh_host_* "$root"/etc/{passwd,shadow,group,gshadow,subuid,subgid}- "$root"/var/log/* \
        "$root"/var/cache/* "$root"/var/lib/{apt,systemd} "$root"/etc/apt/sources.list* "$root"/run/* "$root"/tmp/* \
        "$root"/etc/.pwd.lock
    systemctl --root="$root" preset-all
    prune "$root"
    [[ $VARIANT == ci ]] || initramfs "$root"
    # Nothing is ever installed on the image: what dpkg knows is kept for who asks what is in it. /var itself is the
    # data partition's.
    mkdir -p "$root/usr/share/gateway"
    cp "$root/var/lib/dpkg/status" "$root/usr/share/gateway/dpkg-status"
    rm -rf "${root:?}"/var/* "$root/usr/lib/apt"
    site=$(echo "$root$program"/lib/python3*/site-packages)
    python3 -m compileall -q -f -j 0 -s "$root" -p / --invalidation-mode unchecked-hash \
        "$root/usr/lib/python3.13" "$site" >/dev/null || true # Debian's own tests of bad syntax are among them
    chroot "$root" "$program/bin/python" -c 'import gateway.cli.main, gateway.household.server, tpm2_pytss'
}

prune() { # prune ROOT: what neither this board nor the gateway uses
    local root=$1 modules
    # Of Amazon's 400 services the gateway speaks to S3 and to STS.
    find "$root$program"/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name sts -exec rm -r {} +
    # Of some 1000 languages those of the page, and English.
    find "$root$program"/lib/python3*/site-packages/babel/locale-data -name '*.dat' ! -name root.dat \
        ! -name 'en*' ! -name 'de*' ! -name 'fr*' ! -name 'nl*' -delete
    find "$root$program"/lib/python3*/site-packages/numpy -type d -name tests -prune -exec rm -r {} +
    rm -rf "$root/usr/lib/udev/hwdb.d" # hwdb.bin is made of it
    [[ $VARIANT == ci ]] && return
    for modules in "$root"/usr/lib/modules/*; do
        rm -r "$modules"/kernel/{sound,drivers/{media,infiniband,gpu/drm/{amd,nouveau,radeon,msm,i915,xe,etnaviv,lima,panfrost,tegra,rockchip,mediatek,exynos,hisilicon},iio,ata,isdn,staging,vdpa,vfio,xen,thunderbolt,firewire,nvdimm}} 2>/dev/null || true
        find "$modules"/kernel/drivers/net/{ethernet,wireless} -mindepth 1 -maxdepth 1 \
            ! -name broadcom ! -name cadence ! -name microchip -exec rm -r {} +
        depmod --basedir "$root/usr" "$(basename "$modules")"
    done
}

initramfs() { # initramfs ROOT: what boots it, out of it
    local root=$1 kernel stamp
    kernel=$(basename "$root"/lib/modules/*)
    stamp=$({ cat /stage/base.stamp; declare -f prune initramfs; cd image/root;
        find . \( -path '*initramfs-tools*' -o -path '*repart.d*' \) -type f -print0 | sort -z | xargs -0 sha256sum; } | sha256sum)
    if [[ $(cat /stage/initrd.stamp 2>/dev/null) != "$stamp" ]]; then
        make_initramfs "$root" "$kernel"
        echo "$stamp" >/stage/initrd.stamp
    fi
    rm -rf "$root/usr/lib/linux-image-$kernel" "$root"/boot/{vmlinuz,System.map,config}-* "$root"/{vmlinuz,initrd.img}*
}

make_initramfs() { # make_initramfs ROOT KERNEL: to /stage/initrd.img, beside the kernel and the device trees
    local root=$1 kernel=$2
    mount --bind /proc "$root/proc"
    chroot "$root" env SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" update-initramfs -c -k "$kernel"
    umount "$root/proc"
    mv "$root/boot/initrd.img-$kernel" /stage/initrd.img
    cp "$root/boot/vmlinuz-$kernel" /stage/vmlinuz
    rm -rf /stage/dtb
    cp -r "$root/usr/lib/linux-image-$kernel/broadcom" /stage/dtb
}

# --- the card

boot() { # root.erofs in /stage/out, and in /stage/card what the FAT partitions have, but for the manifest
    local file
    rm -rf /stage/card /stage/out
    mkdir -p /stage/card/boot/overlays /stage/out
    cp -r image/card/. /stage/card/
    cp /usr/lib/raspi-firmware/{start4.elf,fixup4.dat,start.elf,fixup.dat,bootcode.bin} /stage/vmlinuz /stage/initrd.img \
        /stage/card/boot/
    for file in /stage/dtb/bcm27{11,12}-rpi-*.dtb /stage/dtb/bcm2837-rpi-3-*.dtb; do
        [[ ! -e $file ]] || cp "$file" /stage/card/boot/
    done
    dtc -q -@ -I dts -O dtb -o /stage/card/boot/overlays/letstrust.dtbo image/letstrust.dts
    # The overlay's labels are those of the board's device tree.
    fdtoverlay -i /stage/dtb/bcm2711-rpi-4-b.dtb -o /stage/merged.dtb /stage/card/boot/overlays/letstrust.dtbo
    mkfs.erofs --quiet -z zstd,level=9 -C 131072 -T "$SOURCE_DATE_EPOCH" -U 67770000-6174-4577-8179-000000000005 \
        /stage/out/root.erofs "$root"
    python3 image/sbom.py "$root" /var/lib/dpkg/status "gateway-$version" >"/stage/out/gateway-$version.spdx.json"
}

card() { # boot.vfat and the image of the card
    rm -rf /stage/tmp
    find /stage/card -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
    genimage --config image/genimage.cfg --rootpath /stage/card --tmppath /stage/tmp --inputpath /stage/out \
        --outputpath /stage/out
    rm -f /stage/out/CONFIG.vfat
    sgdisk --transpose=3:4 /stage/out/gateway.img # the number 3 is boot-b's
    mv /stage/out/gateway.img "/stage/out/gateway-$version.img"
    cp /stage/card/boot/release.json /stage/out/
    zstd -q -T0 -12 "/stage/out/gateway-$version.img"
    (cd /stage/out && sha256sum -- * >/stage/SHA256SUMS && mv /stage/SHA256SUMS .)
}

# --- for vm.py

tpm_disk() { # a disk with swtpm, and /start, which makes it the TPM of the machine that the disk is in
    debian swtpm swtpm
    rm -rf /stage/tpm
    mkdir -p /stage/tpm/root/state
    cp -a /stage/swtpm/. /stage/tpm/root/
    rm -rf /stage/tpm/root/{dev,proc,sys,tmp,var/cache,var/log,usr/share}/*
    cat >/stage/tpm/start <<'END'
set -eu
modprobe tpm_vtpm_proxy
mount --bind /dev /run/tpm/root/dev
chroot /run/tpm/root swtpm chardev --vtpm-proxy --tpm2 --tpmstate dir=/state --flags startup-clear --daemon
until [ -c /dev/tpmrm0 ]; do sleep 0.1; done
udevadm settle
END
    mke2fs -q -F -t ext4 -L gwtpm -d /stage/tpm /stage/tpm.ext4 400M
}

"$@"
