#!/usr/bin/env bash
# Install what the tests need, and run every check: lint, format, types, tests. A failed check does not keep
# the next from running. The last lines are pytest's summary.
#
#   provisioning/test.sh                      all tests, in two halves side by side, and how much of some rooms
#                                             they reach (tests/floors.py)
#   provisioning/test.sh --quick              all tests that are not slow, the imports and the scripts among them
#   provisioning/test.sh PYTEST-ARGUMENT...   those that pytest chooses
set -euo pipefail
cd "$(dirname "$0")/.."

steps=6
source provisioning/lib.sh

debian_packages '' "${base_packages[@]}" "${tpm_packages[@]}" "${swtpm_packages[@]}" \
    "${browser_packages[@]}" "${mariadb_packages[@]}" "${mosquitto_packages[@]}" "${maven_packages[@]}" \
    "${image_packages[@]}" "${root_packages[@]}" poppler-utils prometheus shellcheck
find_python
step "Installer uv" "PyPI" get_uv
virtual_environment tpm test
case ${1-} in
'') arguments=() ;;
--quick) arguments=(-m 'not slow' --durations=5 --durations-min=1 "${@:2}") ;;
*) arguments=("$@") ;;
esac
if [[ ${1-} != --quick ]]; then
    provisioning/minio.sh >/dev/null
    provisioning/en16931.sh >/dev/null
    export GATEWAY_REQUIRE_MINIO=1 GATEWAY_REQUIRE_EN16931=1 # without them tests fail, instead of being skipped
    if ((EUID == 0)); then
        image/build.sh --arch amd64 --variant ci >/dev/null
        export GATEWAY_REQUIRE_NSPAWN=1
    fi
fi

failed=''
check() { # check TITLE COMMAND...: a step that may fail
    try_step "$@"
    ((status)) || return 0
    log_of_step
    failed+="${failed:+, }$1"
}

check "Lint" .venv/bin/ruff check
check "Format" .venv/bin/ruff format --check
check "Types" .venv/bin/mypy
[[ ! $failed ]] || echo "Failed: $failed (see above). The tests still run, but this run has failed."

halves() { # all tests: those of the rooms with floors, and some more, beside all others
    local path first=() second=() first_log
    for path in tests/*/ tests/test_*.py; do
        case $path in
        tests/__pycache__/ | tests/support/) ;;
        tests/chain/ | tests/ledger/ | tests/stream/ | tests/trust/ | tests/wire/ | tests/vectors/) first+=("$path") ;;
        tests/cli/ | tests/fuzz/ | tests/intervals/ | tests/meters/ | tests/simulate/ | tests/store/) first+=("$path") ;;
        *) second+=("$path") ;;
        esac
    done
    first_log=$(mktemp)
    .venv/bin/pytest -p tests.floors "${first[@]}" >"$first_log" 2>&1 &
    first_half=$!
    trap 'kill "$first_half" 2>/dev/null || true' EXIT # which outlives this function's variables
    .venv/bin/pytest "${second[@]}" || status=$?
    wait "$first_half" || status=$?
    cat "$first_log"
    rm "$first_log"
}

status=0
if ((${#arguments[@]})); then
    .venv/bin/pytest "${arguments[@]}" || status=$?
else
    halves
fi
[[ ! $failed || $status != 0 ]] || status=1
exit "$status"
