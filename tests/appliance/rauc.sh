# A Debian 13 with RAUC's service, in a mount namespace of its own: rauc.sh ROOT FOLDER IMAGE KEYS
# ROOT stays as it is: FOLDER gets what is written over it, and the files behind the slots' loop devices. Reads
# "a" or "b", restarts RAUC as in that slot, and says so once it answers; ends with its input. The CONFIG
# partition is a tmpfs, which can be mounted read-only as a FAT can.
set -eu
root=$1 folder=$2 image=$3 keys=$4 r=$2/root
cd "$folder"
mkdir -p upper work root
mount -t overlay overlay -o "lowerdir=$root,upperdir=$folder/upper,workdir=$folder/work" "$r"
cp -r "$image/." "$r/"
cp "$keys/update.cert.pem" "$r/usr/lib/gateway/"
mount -t proc proc "$r/proc"
mount --rbind /dev "$r/dev"
mount -t tmpfs tmpfs "$r/run"
# Verity takes a device mapper, which a build machine may lack.
sed -i 's/@MACHINE@/rpi4/; s/@VERSION@/2026.11.1/; s/=verity/=plain verity/; s,/dev/disk/by-partlabel,/slots,' \
    "$r/etc/rauc/system.conf"
sed -i 's,=/proc/cmdline,=/cmdline,' "$r/usr/lib/gateway/rauc-boot"
mkdir -p "$r/slots" "$r/boot/config" "$r/bundles"
mount --bind "$folder/bundles" "$r/bundles"
loops= bus= service=
trap 'kill $service $bus; wait; losetup -d $loops' EXIT
for slot in root-a root-b boot-a boot-b; do
    truncate -s 4M "$slot.img"
    loop=$(losetup --find --show "$slot.img")
    loops="$loops $loop"
    ln -s "$loop" "$r/slots/$slot"
done
mount -t tmpfs tmpfs "$r/boot/config"
printf '[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n' >"$r/boot/config/autoboot.txt"
mount -o remount,ro "$r/boot/config"
for user in gateway-updater somebody; do
    grep -q "^$user:" "$r/etc/passwd" || chroot "$r" useradd --system "$user"
done
mkdir -p "$r/run/dbus" "$r/var/lib/dbus"
chroot "$r" dbus-uuidgen --ensure
chroot "$r" dbus-daemon --system --nofork &
bus=$!
while [ ! -S "$r/run/dbus/system_bus_socket" ]; do sleep 0.1; done
boot() { # boot a|b: RAUC's service as after a restart into a slot
    [ -z "$service" ] || kill "$service"
    echo "console=tty1 gateway.slot=$1" >"$r/cmdline"
    # exec, so that the number is RAUC's.
    (exec chroot "$r" rauc --mount=/run/rauc/mnt service >&2) &
    service=$!
    until chroot "$r" dbus-send --system --print-reply --dest=org.freedesktop.DBus / \
        org.freedesktop.DBus.GetConnectionUnixProcessID string:de.pengutronix.rauc 2>/dev/null |
        grep -q "uint32 $service"; do sleep 0.1; done
    echo "$1"
}
while read -r slot; do boot "$slot"; done
