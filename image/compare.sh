#!/usr/bin/env bash
# Compare two images: whether they are the same file, and where they are not, which parts and which files differ.
set -euo pipefail

usage='Usage: image/compare.sh A B

Says whether two images are the same, byte for byte. Where they are not, it names the partitions that differ and, with
root and Debian'"'"'s erofs-utils and mtools, the files in them. A and B are images, or folders that image/build.sh made.

Exit codes: 0 where they are the same, 1 where they differ, 2 for a wrong command line.

Example:
  image/compare.sh build/image /srv/other/image'

case ${1-} in -h | --help) echo "$usage" && exit ;; esac
here=$(dirname "$0")
(($# == 2)) || { echo "$usage" >&2 && exit 2; }

image_of() { # image_of PATH: the image, of a folder its only one
    local found=("$1"/*.img)
    [[ -d $1 ]] || found=("$1")
    [[ -f ${found[0]} ]] || { echo "There is no image at $1." >&2 && exit 2; }
    echo "${found[0]}"
}

a=$(image_of "$1")
b=$(image_of "$2")
if cmp -s "$a" "$b"; then
    echo "The same: $(sha256sum <"$a" | cut -d' ' -f1)"
    exit
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo "They differ in $({ cmp -l "$a" "$b" 2>/dev/null || true; } | wc -l) bytes."

split() { # split IMAGE NAME: its partitions, as files
    local start size name
    python3 -c '
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from vm import Card
for part in Card(Path(sys.argv[2])).partitions().values():
    print(part.offset, part.size, part.name)' "$here" "$1" | while read -r start size name; do
        dd if="$1" of="$folder/$2.$name" bs=1M skip="$start" count="$size" iflag=fullblock,skip_bytes,count_bytes status=none
    done
}

split "$a" a
split "$b" b
cmp -s <(head -c 17408 "$a") <(head -c 17408 "$b") || echo "The partition tables differ."
for part in "$folder"/a.*; do
    name=${part##*/a.}
    cmp -s "$part" "$folder/b.$name" && continue
    echo "The partition $name differs:"
    for side in a b; do
        mkdir "$folder/$side"
        if [[ $name == root-* ]]; then
            fsck.erofs --extract="$folder/$side" --overwrite "$folder/$side.$name" >/dev/null
        else
            mcopy -s -n -m -i "$folder/$side.$name" :: "$folder/$side/"
        fi
        (cd "$folder/$side" && find . -printf '%p %y %m %U:%G %T@ %l ' \( -type f -exec sha256sum {} \; -o -printf '\n' \) |
            sort) >"$folder/$side.list"
    done
    diff "$folder/a.list" "$folder/b.list" | head -n 40 || true
    rm -rf "$folder/a" "$folder/b"
done
exit 1
