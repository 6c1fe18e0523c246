# shellcheck shell=bash disable=SC2154
# What install.sh looks at on the machine itself: the board, the system, and the way from a TPM on a HAT to the
# user that opens it. Each check prints a line, "ok", "FAIL" or "note", a part and a sentence, with tabs between;
# after FAIL the sentence says what to do. What lies behind /dev/tpmrm0, `gateway doctor` looks at. Sourced;
# `board` is the folder that stands for / in tests.

board=${board:-}
overlay=tpm-slb9670 # of the Raspberry Pi's firmware: Infineon's SLB 9670 and 9672 at SPI0, CE1

say() { # say STATE PART SENTENCE
    printf '%s\t%s\t%s\n' "$@"
}

board_model() { # as the device tree has it; empty where this is not a board
    [[ ! -r $board/proc/device-tree/model ]] || tr -d '\0' <"$board/proc/device-tree/model"
}

check_board() {
    local model
    model=$(board_model)
    case $model in
    'Raspberry Pi '[45]* | 'Raspberry Pi Compute Module '[45]*) say ok board "$model" ;;
    'Raspberry Pi 3'* | 'Raspberry Pi Zero 2'*)
        say ok board "$model; the gateway is made for a Raspberry Pi 4, and this one has less memory"
        ;;
    'Raspberry Pi'*) say FAIL board "$model has no 64-bit processor: use a Raspberry Pi 4" ;;
    '') say note board "not a Raspberry Pi: what is said of a HAT does not apply" ;;
    *) say note board "$model; the gateway is tried on a Raspberry Pi 4" ;;
    esac
}

check_system() { # a 64-bit kernel may run a 32-bit system, as Raspberry Pi OS (32-bit) does
    local architecture kernel
    architecture=$(dpkg --print-architecture 2>/dev/null || echo unknown)
    kernel=$(uname -m)
    case $architecture in
    amd64 | arm64) say ok system "64 bits, $architecture, kernel $(uname -r)" ;;
    *)
        say FAIL system "built for $architecture on a $kernel kernel: install a 64-bit Debian 12 or 13, or \
Raspberry Pi OS (64-bit)"
        ;;
    esac
}

check_hat() { # why a Raspberry Pi has no /dev/tpmrm0, from the overlay to the chip; fails where that was found
    local config=$board/boot/firmware/config.txt
    [[ $(board_model) == 'Raspberry Pi'* ]] || return 0
    if [[ -e $board/dev/tpmrm0 ]]; then
        say ok HAT "the kernel has its chip"
        return 0
    fi
    [[ -e $config ]] || config=$board/boot/config.txt
    if grep -qsr --include=compatible 'slb967[0-9]\|tcg,tpm_tis-spi' "$board/proc/device-tree/"; then
        say ok overlay "a TPM is in the device tree"
    elif grep -qsE '^[[:space:]]*dtoverlay=tpm-slb967[0-9]' "$config"; then
        say FAIL overlay "${config#"$board"} names a TPM, but that is not in effect: restart. If it stays so, look \
whether the line stands below a [filter] for another board"
        return 1
    else
        say FAIL overlay "no TPM is in the device tree: sudo sh -c 'echo dtoverlay=$overlay >> \
${config#"$board"}', then restart"
        return 1
    fi
    if compgen -G "$board/sys/class/spi_master/spi*" >/dev/null; then
        say ok SPI "the kernel has the bus that the HAT is at"
    else
        say FAIL SPI "the kernel has no SPI bus. On a Raspberry Pi 5 that takes Raspberry Pi's own kernel, since \
Debian's has none for it; else sudo dmesg | grep -i spi says what it met"
        return 1
    fi
    say FAIL chip "the kernel does not find the chip: power off, and look whether the HAT sits on pins 17 to 26, not \
one off; then sudo modprobe tpm_tis_spi, and sudo dmesg | grep -i tpm says what it met"
    return 1
}

check_device() { # /dev/tpmrm0, its group and mode
    local device=$board/dev/tpmrm0 owner
    if [[ ! -e $device ]]; then
        say FAIL device "there is no /dev/tpmrm0, so no TPM that the kernel knows. Without one, [trust] root = \
\"software\" keeps the keys on the disk, where whoever copies it has them"
        return 0
    fi
    owner=$(stat -c '%G %a' "$device")
    if [[ $owner == 'tss '?6? || $owner == 'tss '?7? ]]; then
        say ok device "/dev/tpmrm0 belongs to the group tss (mode ${owner#* })"
    else
        say FAIL device "/dev/tpmrm0 has the group ${owner% *} and mode ${owner#* }, and not tss and 660: sudo apt-get \
install tpm-udev, then sudo udevadm trigger --subsystem-match=tpmrm"
    fi
}

check_user() { # the groups of the user gateway, for the TPM and serial ports
    local groups group
    if ! groups=$(id -nG gateway 2>/dev/null); then
        say note user "there is no user gateway yet: sudo ./provisioning/install.sh apply makes it"
        return 0
    fi
    for group in tss dialout; do
        if [[ " $groups " != *" $group "* ]] && getent group "$group" >/dev/null; then
            say FAIL user "gateway is not in the group $group: sudo usermod --append --groups $group gateway, then \
sudo systemctl restart gateway"
            return 0
        fi
    done
    say ok user "gateway is in the groups ${groups// /, }"
}

wanted_root() { # wanted_root FILE: "tpm", "swtpm" or "software", as the configuration says; "tpm" where there is none
    local trust
    trust=$(awk '/^[[:space:]]*\[/ { inside = /^[[:space:]]*\[trust\]/ } inside' "$1" 2>/dev/null || true)
    if grep -Eq '^[[:space:]]*root[[:space:]]*=[[:space:]]*["'\'']software' <<<"$trust"; then
        echo software
    elif grep -Eq '^[[:space:]]*tcti[[:space:]]*=[[:space:]]*["'\''](swtpm|mssim)' <<<"$trust"; then
        echo swtpm
    else
        echo tpm
    fi
}

check_machine() { # check_machine CONFIGURATION: every check, in the order in which one explains the next
    check_board
    check_system
    case $(wanted_root "$1") in
    software) say note TPM "none is wanted: $1 has the root in software, so whoever copies the disk has the keys" ;;
    swtpm) say note TPM "$1 names a simulated one (swtpm), which is for trying only" ;;
    tpm) if check_hat; then check_device; fi ;;
    esac
    check_user
}
