# shellcheck shell=bash disable=SC2034,SC2154
# Functions that the scripts of this folder share: steps with a display, Debian packages, uv and the virtual
# environment. Sourced from the project's root by a script that sets `steps`, the number of its steps.
#
# Exit codes are the gateway's own: 2 for a wrong command line, 4 for something that is not available now
# (no root, no network) and may be later, 1 for the rest.

stop() { # stop CODE SENTENCE...: print why on standard error and end the script
    local code=$1
    shift
    printf '%s\n' "$@" >&2
    exit "$code"
}

from_caller() { # from_caller PATH: absolute, of a PATH as it was given where the script was called
    local called_in=$OLDPWD # the script has changed into the project's root
    [[ $1 == /* ]] && printf '%s' "$1" || printf '%s' "$called_in/$1"
}

cache=${cache:-${XDG_CACHE_HOME:-~/.cache}/gateway}
log=$cache/log/${0##*/}.log

# --- steps

step_number=0

open_log() {
    { mkdir -p "$cache/log" && : >"$log"; } 2>/dev/null ||
        stop 4 "The log $log cannot be written: make its folder writable, or name another in XDG_CACHE_HOME."
}

now() { # microseconds
    printf '%s' "${EPOCHREALTIME//[.,]/}"
}

since() { # since MICROSECONDS: "0.4 s", "41 s", "3 min 20 s"
    local tenths=$((($(now) - $1) / 100000))
    if ((tenths < 100)); then
        printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
    elif ((tenths < 600)); then
        printf '%d s' $((tenths / 10))
    else
        printf '%d min %d s' $((tenths / 600)) $((tenths / 10 % 60))
    fi
}

show_progress() { # show_progress HEADING BEGAN COLUMNS: redraw the step's line with its time and the log's last line
    local line
    set +e # an empty log must not end it
    while sleep 0.5 && kill -0 $$ 2>/dev/null; do
        line=$(tail -c 500 "$log" | tr '\r' '\n' | tr -cd '[:print:]\n' | grep -v '^ *$' | tail -n 1)
        line="$1 $(since "$2")  $line"
        printf '\r\033[K%s' "${line:0:$3}"
    done
}

try_step() { # try_step TITLE COMMAND...: run it, its output in the log, and set `status` to its exit code
    local heading began columns display=''
    ((step_number)) || open_log
    step_number=$((step_number + 1))
    heading="[$step_number/$steps] $1 ..."
    shift
    began=$(now)
    step_log=$(stat -c %s "$log") # where in the log this step begins
    if [[ -t 1 ]]; then
        columns=$(($(tput cols 2>/dev/null || echo 80) - 1))
        printf '%s' "${heading:0:columns}"
        show_progress "$heading" "$began" "$columns" 2>/dev/null &
        display=$!
    else
        printf '%s' "$heading"
    fi
    # The first command that fails ends the step: `set -e` would have no effect under `if` or `||`.
    set +e
    (
        set -e
        export LC_ALL=C.UTF-8 # `unreachable` below matches English messages
        "$@"
    ) </dev/null >>"$log" 2>&1
    status=$?
    if [[ $display ]]; then
        {
            kill "$display"
            wait "$display"
        } 2>/dev/null
        printf '\r\033[K%s' "$heading"
    fi
    set -e
    ((status)) && printf ' failed after'
    printf ' %s\n' "$(since "$began")"
}

unreachable='Temporary failure (resolving|in name resolution)|Could not resolve|Name or service not known'
unreachable+='|dns error|failed to lookup address|Could not connect|Unable to connect|tcp connect error'
unreachable+='|Failed to establish a new connection|Network is unreachable|No route to host|ReadTimeout'
unreachable+='|[Cc]onnection (refused|timed out|reset)|[Oo]peration timed out|dial tcp|i/o timeout'
unreachable+='|EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH' # npm's

step() { # step TITLE SOURCE COMMAND...: end the script if it fails; SOURCE is where it downloads from, or ''
    local title=$1 source=$2
    shift 2
    try_step "$title" "$@"
    ((status)) || return 0
    show_log
    [[ ! $source ]] || ! grep -qE "$unreachable" <(log_of_step) ||
        stop 4 "The step \"$title\" could not reach $source: is this machine online?" \
            "Nothing is lost: run the same command again, and it continues from here. The full log is $log"
    stop "$status" "The step \"$title\" failed. Above is the end of its log, $log"
}

log_of_step() { # everything that the last step wrote
    tail -c "+$((step_log + 1))" "$log"
}

show_log() { # the end of it, for a person
    log_of_step | tail -n 15 | sed 's/^/    /' >&2
}

# --- Debian packages

base_packages=(ca-certificates python3 python3-venv)
# The root of trust: tpm2-pytss is compiled against libtss2-dev, which also brings every way to reach a TPM
# and the rule that gives /dev/tpmrm0 to the group tss.
tpm_packages=(gcc libc6-dev libtss2-dev pkg-config python3-dev)
# A TPM in software, for a machine without the chip and for the tests.
swtpm_packages=(swtpm swtpm-tools)
# A real browser, and a real MariaDB server, for the tests.
browser_packages=(chromium)
mariadb_packages=(mariadb-server)
# A real MQTT broker for the tests, which start their own beside the service that the package starts.
mosquitto_packages=(mosquitto mosquitto-clients)
# Reads and writes the FAT partitions of images, for `gateway fleet make --image`.
image_packages=(mtools)
# Make the appliance's root, and boot it in a container.
root_packages=(debian-archive-keyring mmdebstrap systemd-container)
# Fetches the rules by which the tests check invoices.
maven_packages=(maven)

find_root() { # set as_root to the prefix of a command that takes root; fails where there is none
    as_root=()
    ((EUID)) || return 0
    as_root=(sudo -n)
    sudo -n true 2>/dev/null
}

find_missing() { # find_missing NAME...: set missing to those packages that are not installed
    local installed name
    # dpkg-query fails if it does not know one of them; what it prints of the others is still right.
    installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
    missing=()
    for name; do
        [[ $'\n'$installed$'\n' == *$'\n'"$name installed"$'\n'* ]] || missing+=("$name")
    done
}

apt_install() { # apt-get update succeeds without a network too: whether its lists are good enough shows at the install
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=1 -o DPkg::Lock::Timeout=300)
    "${apt[@]}" update
    "${apt[@]}" install --yes --no-install-recommends "$@"
}

debian_packages() { # debian_packages HINT NAME...: the step; HINT is another way for a person without root, or ''
    local hint=$1 architecture missing as_root
    shift
    command -v dpkg-query apt-get >/dev/null ||
        stop 4 "This system has no apt-get: the gateway is made for Debian 12 and 13 and their derivatives."
    architecture=$(dpkg --print-architecture)
    [[ $architecture == amd64 || $architecture == arm64 ]] ||
        stop 4 "This system is built for $architecture; the gateway needs a 64-bit one, amd64 or arm64."
    find_missing "$@"
    if ((${#missing[@]} == 0)); then
        step "Debian packages" '' true
    elif find_root; then
        step "Debian packages ${missing[*]}" "the Debian mirror" apt_install "${missing[@]}"
    else
        stop 4 "Debian packages are missing, and installing them takes root. Run this, then the same command again:" \
            "    sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}" ${hint:+"$hint"}
    fi
}

# --- Python, uv and the virtual environment

find_python() { # set python to the first python3 that is new enough, Debian's own before any other; and uv
    uv=$cache/uv-$(sed -n 's/^uv==\([^ ]*\).*/\1/p' provisioning/uv.txt)
    for python in /usr/bin/python3 "$(command -v python3)"; do
        # For uv: this interpreter, none downloaded; the certificates that the system trusts.
        export UV_PYTHON=$python UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=true
        "$python" -Ic 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    done
    stop 4 "Python 3.11 or newer is needed, and is not installed: Debian 12 and 13 have it as python3."
}

get_uv() { # put uv at $uv, a single file; pip checks it against the hash
    local folder=$uv.new
    [[ ! -x $uv ]] || return 0
    rm -rf "$folder"
    "$python" -m venv "$folder"
    "$folder/bin/python" -m pip --disable-pip-version-check install --retries 2 \
        --only-binary :all: --require-hashes -r provisioning/uv.txt
    mv "$folder/bin/uv" "$uv"
    rm -rf "$folder"
}

digest() { # digest FILE...: 12 hex digits of the files and of the interpreter that they are installed for
    {
        "$python" -Ic 'import sys; print(sys.executable, sys.version)'
        sha256sum "$@"
    } | sha256sum | cut -c1-12
}

virtual_environment() { # virtual_environment WORD...: the step; words are groups and extras of pyproject.toml, and `tpm`
    local stamp=.venv/stamp made='' had='' state want word arguments web
    mapfile -d '' -t web < <(find gateway/household/web -type f ! -path '*/node_modules/*' -print0 | sort -z)
    state="$(digest uv.lock pyproject.toml provisioning/{lib.sh,uv.txt} hatch_build.py "${web[@]}") $PWD"
    [[ ! -r $stamp ]] || { read -r made && read -r had; } <"$stamp" || true
    # The groups of an earlier run are kept, so that two scripts do not undo each other's work in turn.
    want=$(printf '%s\n' "$@" "${had// /$'\n'}" | sort -u | xargs)
    if [[ $made == "$state" && $had == "$want" && -x .venv/bin/gateway && -e gateway/household/built/stamp ]]; then
        step "Python packages" '' true
        return
    fi
    arguments=(sync --frozen --reinstall-package gateway) # which builds what the page needs
    [[ " $want " == *" tpm "* ]] || arguments+=(--no-install-package tpm2-pytss)
    for word in $want; do
        case $word in
        tpm) ;;
        household | provider | registrar | centre | fleet)
            [[ " $want " == *" test "* ]] || arguments+=(--extra "$word") # uv takes it or --all-extras
            ;;
        test) arguments+=(--all-extras --group test) ;;
        *) arguments+=(--group "$word") ;;
        esac
    done
    rm -f "$stamp"
    step "Python packages" "PyPI or npm's registry" env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=.venv "$uv" "${arguments[@]}"
    printf '%s\n%s\n' "$state" "$want" >"$stamp"
}
