#!/usr/bin/env bash
# Make the signed tarball for those who keep their own Debian: gateway-VERSION.tar.zst with the files of the
# commit and the page as built, SHA256SUMS, and its signature SHA256SUMS.sig. The same commit and the same zstd
# give the same bytes. provisioning/README.md says how it is checked and installed.
#
#   provisioning/tarball.sh [--key FILE] [FOLDER]
#
# FILE is the update key, release-keys/update.key.pem unless it is named. FOLDER is where the three files go, dist
# unless it is named.
set -euo pipefail
cd "$(dirname "$0")/.."
source provisioning/lib.sh

key=release-keys/update.key.pem folder=dist
while (($#)); do
    case $1 in
    --key)
        (($# > 1)) || stop 2 "--key takes a file after it."
        key=$2
        shift
        ;;
    -h | --help)
        sed -n '2,/^set/{/^#/!d;s/^# \{0,1\}//;p}' "$0"
        exit 0
        ;;
    -*) stop 2 "\"$1\" is not an argument of tarball.sh: use --key FILE and a folder." ;;
    *) folder=$1 ;;
    esac
    shift
done
[[ -r $key ]] || stop 2 "The update key $key cannot be read: \`gateway release new-keys\` makes it."
command -v git zstd openssl >/dev/null || stop 4 "git, zstd and openssl are needed: sudo apt-get install git zstd openssl"
[[ ! $(git status --porcelain --untracked-files=no) ]] ||
    stop 2 "There are changes that are in no commit (git status): commit them first, or put them away."

umask 022
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' gateway/__init__.py)
epoch=$(git log -1 --format=%ct)
name=gateway-$version
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git archive --format=tar --prefix="$name/" HEAD | tar --extract --directory "$work"
[[ -e gateway/household/built/stamp ]] || stop 2 "The page is not built: provisioning/venv.sh household"
cp -r gateway/household/built "$work/$name/gateway/household/built"
(cd "$work/$name" && "$OLDPWD/.venv/bin/python" -c 'import sys, hatch_build; sys.exit(not hatch_build.up_to_date())') ||
    stop 2 "The page as built is of another commit: provisioning/venv.sh household"
rm -rf "$work/$name/__pycache__"
mkdir -p "$folder"
# Names in one order, one owner, one time, and no extension that holds other times.
LC_ALL=C tar --create --directory "$work" --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner \
    --mode=go=rX,u+rw --format=gnu "$name" | zstd -19 -T1 --quiet --force -o "$folder/$name.tar.zst"
(cd "$folder" && sha256sum "$name.tar.zst" >SHA256SUMS)
openssl dgst -sha256 -sign "$key" -out "$folder/SHA256SUMS.sig" "$folder/SHA256SUMS"
echo "$folder/$name.tar.zst, SHA256SUMS and SHA256SUMS.sig are made, of commit $(git rev-parse --short HEAD)."
