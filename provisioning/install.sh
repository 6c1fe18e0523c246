#!/usr/bin/env bash
# Install the gateway as a service on a Debian or Raspberry Pi OS, 64-bit. Run it again to update.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

((EUID)) || cache=/var/cache/gateway
source provisioning/lib.sh
source provisioning/board.sh

usage='Usage: sudo ./provisioning/install.sh [plan | apply | doctor | uninstall] [OPTION...]

Installs the gateway as the service gateway.service, and the page for the home as gateway-household.service.

  plan         print what apply would do, and what is wrong with this machine; change nothing
  apply        install them, or update them; what is in order stays as it is (the default)
  doctor       check the board, the HAT, the user and, once it is installed, the gateway; say what to do
  uninstall    remove the service and the program; keep the configuration and the state

  --p1         with the reader of P1 meters; an update keeps it
  --no-page    without the page: the configuration is written by hand
  --from FILE  from the tarball FILE, once its signature beside it is checked (provisioning/README.md)
  --certificate FILE
               whose signature that is; needed the first time, and kept
  --json       doctor: print one JSON document
  --purge      uninstall: remove configuration and state too: readings not yet published and the keys of this
               home are lost
  --yes        purge without asking
  --dry-run    change nothing: as plan, also for uninstall
  --uninstall  in place of uninstall

Examples:
  ./provisioning/install.sh plan
  sudo ./provisioning/install.sh apply --p1
  sudo ./provisioning/install.sh doctor
  sudo ./provisioning/install.sh apply --from gateway-1.0.0.tar.zst --certificate update.cert.pem
  sudo ./provisioning/install.sh uninstall --purge'

opt=/opt/gateway
state=/var/lib/gateway
configuration=/etc/gateway/gateway.toml
credential=/etc/credstore.encrypted/gateway.s3
tpm=/dev/tpmrm0
unit=/etc/systemd/system/gateway.service
page_unit=/etc/systemd/system/gateway-household.service
page_state=/var/lib/gateway-household
link=/usr/local/bin/gateway
kept_certificate=$opt/update.cert.pem

# --- install

make_user() { # in the groups of serial ports and of the TPM, where they exist
    getent passwd gateway >/dev/null ||
        useradd --system --user-group --home-dir "$state" --no-create-home --shell /usr/sbin/nologin gateway
    usermod --append --groups "$(getent group dialout tss | cut -d: -f1 | paste -sd,)" gateway
}

make_page_user() { # in the group gateway, which may use the control socket, and in no other
    getent passwd gateway-household >/dev/null ||
        useradd --system --user-group --home-dir "$page_state" --no-create-home --shell /usr/sbin/nologin \
            gateway-household
    usermod --groups gateway gateway-household
}

open_folder() { # the configuration's, for the gateway: its page changes it
    install -d -m 2770 -o root -g gateway "${configuration%/*}"
    [[ -e $configuration ]] || return 0
    if edited; then
        chgrp gateway "$configuration" && chmod g+rw "$configuration"
    else
        rm -f "$configuration" # an example, in place of which the page makes one
    fi
}

build_program() { # the virtual environment in its final place, as its scripts contain their own path
    umask 022
    get_uv
    rm -rf "$program"
    UV_CACHE_DIR=$cache/uv-cache npm_config_cache=$cache/npm UV_PROJECT_ENVIRONMENT=$program \
        "$uv" sync --frozen --no-editable --reinstall-package gateway --compile-bytecode "${extras[@]}"
    touch "$program/complete"
    rm -rf "$cache/uv-cache" "$cache/npm" "$uv"
}

switch_program() { # by one rename, so that it is never missing; the previous version is kept to go back to
    local before folder
    before=$(readlink "$opt/current" || true)
    ln -sfn "$program" "$opt/current.new"
    mv -T "$opt/current.new" "$opt/current"
    ln -sfn "$opt/current/bin/gateway" "$link"
    for folder in "$opt"/*-*; do
        [[ $folder == "$program" || $folder == "$before" ]] || rm -rf "$folder"
    done
}

write_unit() { # write_unit NAME: whether it is a new one
    if cmp -s "systemd/$1" "/etc/systemd/system/$1"; then
        step "The service is in /etc/systemd/system/$1" '' true
    else
        step "Write the service, /etc/systemd/system/$1" '' \
            install -D -m 0644 "systemd/$1" "/etc/systemd/system/$1"
        changed=yes
    fi
}

edited() { # whether the configuration differs from the example of this version and of the installed ones
    local example
    for example in gateway/config/example.toml "$opt"/*/lib/python3*/site-packages/gateway/{config/,}example.toml; do
        ! cmp -s "$example" "$configuration" || return 1
    done
}

restart() {
    systemctl enable gateway
    systemctl restart gateway || {
        journalctl --unit gateway --lines 15 --output cat --no-pager
        false
    }
}

install_gateway() {
    local changed='' version files
    steps=9
    [[ ! $page ]] || steps=11
    debian_packages '' "${base_packages[@]}" "${tpm_packages[@]}"
    find_python
    version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' gateway/__init__.py)
    mapfile -d '' -t files < <(
        find gateway -type f ! -path '*/__pycache__/*' ! -path '*/household/built/*' ! -path '*/node_modules/*' -print0 |
            sort -z
    )
    program=$opt/$version-$(digest uv.lock pyproject.toml hatch_build.py "${files[@]}")
    extras=()
    if [[ $page ]]; then
        extras=(--extra household)
        program+=-page
    fi
    if [[ $p1 ]] || compgen -G "$opt/current/lib/python3*/site-packages/dsmr_parser" >/dev/null; then
        extras+=(--extra p1)
        program+=-p1
    fi

    if [[ -e $program/complete ]]; then
        step "The program is in $program" '' true
    else
        step "Build the program in $program" "PyPI or npm's registry" build_program
    fi
    if [[ $(readlink "$opt/current") == "$program" && $(readlink "$link") == "$opt/current/bin/gateway" ]]; then
        step "The command $link runs it" '' true
    else
        step "Make the command $link run it" '' switch_program
        changed=yes
    fi
    step "Make a user gateway that may open serial ports and the TPM" '' make_user
    if [[ $page ]]; then
        step "Make a user gateway-household that may ask the gateway" '' make_page_user
        step "Let the gateway change its configuration in ${configuration%/*}" '' open_folder
    elif [[ -e $configuration ]]; then
        step "Keep the configuration $configuration" '' true
    else
        step "Write an example configuration, $configuration" '' \
            install -D -m 0640 -g gateway gateway/config/example.toml "$configuration"
    fi
    write_unit gateway.service
    write_unit gateway-clock.service
    write_unit gateway-measure.service
    write_unit gateway-metrics.service
    write_unit gateway-metrics.timer
    [[ ! $page ]] || write_unit gateway-household.service
    if [[ $dry_run ]]; then
        echo "Then the service would be started, if the configuration is ready."
    else
        start_gateway "$changed"
    fi
    show_faults
}

# --- the store's credential

credential_options() { # how systemd-creds is to encrypt it: for the TPM too, where there is one
    # Left to itself, systemd-creds passes over a TPM that the firmware does not use, as on a Raspberry Pi.
    if [[ -e $tpm ]]; then echo "--with-key=host+tpm2 --tpm2-pcrs=14"; else echo "--with-key=host"; fi
}

opened_by_a_copy() { # whether a key on this disk, or none, opens the credential: its first 16 bytes say so
    local kind
    kind=$(head -c 24 "$credential" | base64 --decode 2>/dev/null | head -c 16 | od -An -v -tx1 | tr -d ' \n')
    [[ $kind == 5a1c6a86df9d4096b1d5a65e0862f19a || $kind == 058469daf6f54324800549da0f8ea2fb ]]
}

check_credential() { # say how to encrypt the S3 server's keys, or that they should be encrypted anew
    local options
    options=$(credential_options)
    if [[ -e $credential ]]; then
        [[ -e $tpm ]] && opened_by_a_copy || return 0
        echo "The S3 server's keys in $credential are encrypted without the TPM, so a copy of this disk opens them."
        echo "This encrypts them anew for the TPM too, and loses nothing:"
        echo "    sudo systemd-creds decrypt --name=s3 $credential - |"
        echo "        sudo systemd-creds encrypt $options --name=s3 - $credential.new &&"
        echo "        sudo mv $credential.new $credential && sudo systemctl try-restart gateway"
    elif grep -Eqs '^ *url *= *"s3:' "$configuration"; then
        echo "The S3 server's keys belong in a file that is encrypted for this machine. Into the second of these"
        echo "commands, type the two lines access_key_id=... and secret_access_key=..., then Ctrl-D:"
        echo "    sudo install -d -m 0700 ${credential%/*}"
        echo "    sudo systemd-creds encrypt $options --name=s3 - $credential"
        echo "    sudo systemctl try-restart gateway"
        [[ -e $tpm ]] ||
            echo "There is no TPM here, so a copy of this machine's disk or card opens these keys."
    fi
}

# --- start

start_gateway() { # start_gateway CHANGED: (re)start it, or say what to do first
    local by_hand="sudo systemctl enable --now gateway"
    [[ ! -d /run/systemd/system ]] || systemctl daemon-reload
    check_credential
    if [[ $page && ! -e $configuration ]]; then
        start_page
    elif ! edited; then
        echo "Now configure the meter and the store in $configuration. Then:"
        echo "    sudo gateway config check && $by_hand"
    elif ! runuser -u gateway -- "$link" config check "$configuration" >/dev/null; then
        stop 2 "Correct this in $configuration. Then:" "    sudo gateway config check && $by_hand"
    elif [[ ! -d /run/systemd/system ]]; then
        echo "systemd is not running here, so the service cannot be started now."
        if systemctl --quiet enable gateway 2>/dev/null; then
            echo "It is enabled, and starts when this system boots."
        fi
    elif [[ $1 ]] || ! systemctl --quiet is-active gateway; then
        steps=$((steps + 1))
        step "Start the service, now and at each boot" '' restart
        [[ ! $page ]] || start_page
    else
        echo "The service is running."
        [[ ! $page ]] || start_page
    fi
}

start_page() { # start both services, and say where the page is
    if [[ ! -d /run/systemd/system ]]; then
        systemctl --quiet enable gateway gateway-household 2>/dev/null || true
        echo "systemd is not running here: the gateway and its page start when this system boots."
        return
    fi
    steps=$((steps + 1))
    step "Start the page, now and at each boot" '' systemctl enable --now gateway gateway-household
    echo "The page of this home is at https://$(hostname).local:8443 (or by its address). Your browser does not know"
    echo "its certificate yet; Settings has it for your phone. Nobody has a password until this code chooses one:"
    "$link" household setup-code 2>/dev/null || echo "(one is chosen already)"
}

# --- from a tarball

from_tarball() { # check the tarball's signature, unpack it, and go on with the install.sh in it
    local name=${tarball##*/} beside place=$cache/release part
    beside=$(dirname "$tarball")
    [[ $certificate ]] || certificate=$kept_certificate
    [[ -r $certificate ]] || stop 2 "Whose signature $name has to have is not known here: name the maker's certificate \
with --certificate."
    command -v zstd openssl >/dev/null || stop 4 "zstd and openssl are needed: sudo apt-get install zstd openssl"
    rm -rf "$place"
    install -d -m 0700 "$place"
    # Copies that nobody else can change are what is checked and what is used.
    for part in "$tarball" "$beside/SHA256SUMS" "$beside/SHA256SUMS.sig"; do
        [[ -r $part ]] || stop 2 "$part cannot be read: the tarball, SHA256SUMS and SHA256SUMS.sig belong together."
        cp "$part" "$place"
    done
    openssl x509 -in "$certificate" -pubkey -noout >"$place/key" 2>/dev/null ||
        stop 2 "$certificate is not a certificate in PEM."
    openssl dgst -sha256 -verify "$place/key" -signature "$place/SHA256SUMS.sig" "$place/SHA256SUMS" >/dev/null 2>&1 ||
        stop 3 "SHA256SUMS was not signed by the key of $certificate: nothing was installed."
    (cd "$place" && awk -v name="$name" '$2 == name' SHA256SUMS | sha256sum --status --strict --check 2>/dev/null) ||
        stop 3 "$name is not the file that SHA256SUMS names: nothing was installed."
    tar --extract --zstd --no-same-owner --file "$place/$name" --directory "$place"
    echo "$name is signed by the key of $certificate."
    if [[ $certificate != "$kept_certificate" ]]; then
        install -D -m 0644 "$certificate" "$kept_certificate.new"
        mv "$kept_certificate.new" "$kept_certificate"
    fi
    exec "$place"/gateway-*/provisioning/install.sh "${rest[@]}"
}

# --- the doctor

show_faults() { # those of this machine, after an installation
    local state part sentence
    while IFS=$'\t' read -r state part sentence; do
        [[ $state != FAIL ]] || printf '%s\n' "" "This machine, $part: $sentence."
    done < <(check_machine "$configuration")
}

examine() { # the machine's checks, then the gateway's own
    local found code=0
    found=$(check_machine "$configuration")
    if [[ ! -x $link ]]; then
        found+=$'\n'$(say note gateway "is not installed: sudo ./provisioning/install.sh apply")
    elif [[ ! -e $configuration ]]; then
        found+=$'\n'$(say note gateway "has no configuration yet: its page makes one, https://$(hostname).local:8443")
    fi
    if [[ $json ]]; then
        examine_gateway --json || code=$?
        FOUND=$found GATEWAY=$answer /usr/bin/python3 -Ic "$as_json"
    else
        show_found "$found"
        examine_gateway || code=$?
    fi
    [[ $'\n'$found != *$'\n'FAIL* ]] || code=1
    exit "$code"
}

examine_gateway() { # examine_gateway [--json]: what `gateway doctor` says; with --json in `answer`
    answer='[]'
    [[ -x $link && -e $configuration ]] || return 0
    if (($#)); then
        answer=$("$link" doctor --json --config "$configuration")
    else
        "$link" doctor --config "$configuration"
    fi
}

show_found() { # as `gateway doctor` prints it
    local state part sentence
    while IFS=$'\t' read -r state part sentence; do
        [[ ! -t 1 || ${NO_COLOR-} ]] || case $state in
        ok) state=$'\e[32mok\e[0m  ' ;;
        FAIL) state=$'\e[31mFAIL\e[0m' ;;
        esac
        printf '%-4s  %s: %s\n' "$state" "$part" "$sentence"
    done <<<"$1"
}

# shellcheck disable=SC2016 # Python
as_json='import json, os
lines = [line.split("\t") for line in os.environ["FOUND"].splitlines()]
found = [{"part": part, "ok": state != "FAIL", "sentence": text, "sealing": state != "FAIL"} for state, part, text in lines]
print(json.dumps(found + json.loads(os.environ["GATEWAY"] or "[]"), indent=2))'

# --- uninstall

stop_gateway() {
    if [[ -d /run/systemd/system ]]; then
        systemctl disable --now gateway gateway-household gateway-metrics.timer gateway-{clock,measure} 2>/dev/null || true
    fi
    rm -f "$unit" "$page_unit" /etc/systemd/system/gateway-{clock.service,measure.service,metrics.service,metrics.timer} /etc/systemd/system/multi-user.target.wants/gateway{,-household}.service
    [[ ! -d /run/systemd/system ]] || systemctl daemon-reload
}

uninstall_gateway() {
    steps=2
    [[ ! $purge ]] || steps=4
    if [[ $purge && ! $yes && ! $dry_run ]]; then
        [[ -t 0 ]] || stop 2 "There is no terminal on which to confirm --purge: use it with --yes."
        read -r -p "Readings not yet published and the keys of this home will be lost. Type purge to continue: " answer
        [[ $answer == purge ]] || stop 1 "Nothing was removed."
    fi
    step "Stop the service, remove $unit" '' stop_gateway
    step "Remove $opt and $link" '' rm -rf "$opt" "$link"
    if [[ $purge ]]; then
        step "Remove $state, $page_state and ${configuration%/*}" '' \
            rm -rf "$state" "$page_state" "${configuration%/*}" "$credential" "$unit.d" "$page_unit.d"
        step "Remove the users gateway and gateway-household" '' remove_users
        [[ $dry_run ]] || rm -rf "$cache"
    else
        echo "Kept: the state in $state, the configuration in ${configuration%/*}, $credential, the users."
    fi
}

remove_users() {
    local user
    for user in gateway-household gateway; do
        ! getent passwd "$user" >/dev/null || userdel "$user"
    done
}

# --- the command line

p1='' page=yes dry_run='' purge='' yes='' json='' tarball='' certificate='' action=install_gateway
verb=${1-}
case $verb in
plan) dry_run=yes ;;
apply) ;;
doctor) action=examine ;;
uninstall) action=uninstall_gateway ;;
*)
    verb=''
    set -- apply "$@"
    ;;
esac
rest=("$1")
shift
while (($#)); do
    argument=$1
    case $argument:$verb in --purge:apply | --purge:doctor | --uninstall:apply | --uninstall:doctor)
        stop 2 "$argument belongs to uninstall, not to $verb."
        ;;
    esac
    case $argument in
    --dry-run) dry_run=yes ;;
    --uninstall) action=uninstall_gateway ;;
    --p1) p1=yes ;;
    --no-page) page='' ;;
    --purge) action=uninstall_gateway purge=yes ;;
    --yes) yes=yes ;;
    --json) json=yes ;;
    --from | --certificate)
        (($# > 1)) || stop 2 "$argument takes a file after it." "$usage"
        if [[ $argument == --from ]]; then tarball=$2; else certificate=$2; fi
        shift 2
        continue
        ;;
    -h | --help) echo "$usage" && exit ;;
    *) stop 2 "\"$argument\" is not an argument of install.sh." "$usage" ;;
    esac
    rest+=("$argument")
    shift
done
[[ ! $json || $action == examine ]] || stop 2 "--json belongs to doctor."
[[ ! $tarball$certificate || $action$dry_run == install_gateway ]] || stop 2 "--from and --certificate belong to apply."

if [[ $action == examine ]]; then
    examine
elif [[ $dry_run ]]; then
    echo "This is what would be done; nothing is changed."
    step() {
        step_number=$((step_number + 1))
        echo "[$step_number/$steps] $1"
    }
    find_root() { :; }
    if [[ ! -x /usr/bin/python3 ]]; then # still to be installed, so the version's digest is not known
        find_python() { :; }
        digest() { echo ...; }
    fi
elif ((EUID)); then
    stop 4 "Installing takes root: use sudo ./provisioning/install.sh ${rest[*]}"
elif [[ $tarball ]]; then
    from_tarball
fi
"$action"
