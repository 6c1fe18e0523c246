#!/usr/bin/env bash
# Install what the tests need, and run every check: lint, format, types, tests. A failed check does not keep
# the next from running. The last line is pytest's summary.
#
#   provisioning/test.sh                      all tests, and how much of some rooms they reach (tests/floors.py)
#   provisioning/test.sh --quick              all tests that are not slow, the imports and the scripts among them
#   provisioning/test.sh PYTEST-ARGUMENT...   those that pytest chooses
set -euo pipefail
cd "$(dirname "$0")/.."

steps=6
source provisioning/lib.sh

debian_packages '' "${base_packages[@]}" "${tpm_packages[@]}" "${swtpm_packages[@]}" \
    "${browser_packages[@]}" "${mariadb_packages[@]}" "${mosquitto_packages[@]}" "${maven_packages[@]}" \
    "${image_packages[@]}" "${root_packages[@]}" shellcheck
find_python
step "Installer uv" "PyPI" get_uv
virtual_environment tpm test
case ${1-} in
'') arguments=(-p tests.floors) ;;
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

status=0
.venv/bin/pytest "${arguments[@]}" || status=$?
[[ ! $failed || $status != 0 ]] || status=1
exit "$status"
