#!/bin/sh
# QEMU 10.0.13 (Debian 13), board raspi3b: arming the watchdog resets the board at once, whatever time it is set to. In
# a BCM2837 the register PM_WDOG holds what is left, in 1/65536 s, and a write of "full reset" to PM_RSTC starts the
# count (so Linux' bcm2835_wdt.c uses them); QEMU's bcm2835-powermgt takes that write for the reset itself and keeps
# no time. So an image whose systemd has RuntimeWatchdogSec=, as appliances do, restarts in the midst of each boot on this
# board, without a word on its console, and systemd.watchdog_sec=0 on the kernel's command line lets it boot. Two programs
# without an operating system, of six instructions, show it: both set 15 s, and the second one arms. Output:
#
#     set to 15 s: on after 5 s; set and armed: reset before 5 s
#
# Needs root and mmdebstrap. Exits with 0 while that is so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' | grep '/debian/*$' | head -1)}
mmdebstrap --quiet --variant=apt --aptopt='Apt::Install-Recommends "false"' --include=qemu-system-arm=1:10.0.13+ds-0+deb13u1 \
    trixie "$folder/root" "$mirror" >"$folder/log" 2>&1 || { cat "$folder/log" >&2 && exit 1; }
words() { # words HEX...: as bytes, the lowest first
    # shellcheck disable=SC2059 # the format is an octal escape
    for word; do
        for at in 7-8 5-6 3-4 1-2; do
            printf "\\$(printf %o "0x$(echo "$word" | cut -c$at)")"
        done
    done
}
set='D2A7E200 52AB41E1 B9002401' # x0 = 0x3f100000, the power manager; w1 = password 0x5a, 15 << 16; to PM_WDOG, +0x24
arm='52AB4001 72800401 B9001C01' # w1 = password 0x5a, full reset 0x20; to PM_RSTC, +0x1c
stay=14000000
# shellcheck disable=SC2086 # words of their own
words $set $stay >"$folder/root/set.img"
# shellcheck disable=SC2086
words $set $arm $stay >"$folder/root/armed.img"
state() { # state NAME: whether the board is on after 5 s
    chroot "$folder/root" timeout 5 qemu-system-aarch64 -M raspi3b -display none -serial none -monitor none -no-reboot \
        -kernel "/$1.img" 2>/dev/null && echo "reset before 5 s" || echo "on after 5 s"
}
said="set to 15 s: $(state set); set and armed: $(state armed)"
echo "$said"
[ "$said" = "set to 15 s: on after 5 s; set and armed: reset before 5 s" ]
