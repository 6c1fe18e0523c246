#!/usr/bin/env bash
# Print the folder of the rules by which the tests check electronic invoices (never a part of the gateway): those
# of EN 16931 for UBL 2.1, those of Peppol BIS Billing and Self-Billing, each compiled to XSLT, and UBL's schemas.
# If it is not there yet, fetch it: 45 MB by Maven, once; 6 MB remain, in $XDG_CACHE_HOME/gateway (~/.cache/gateway).
#
#   provisioning/en16931.sh
set -euo pipefail
cd "$(dirname "$0")/.."

steps=1
source provisioning/lib.sh

version=1.3.16-peppol-2026.5
folder=$cache/en16931-$version
work=$folder.new
plugin=org.apache.maven.plugins:maven-dependency-plugin:3.6.1
jars=(
    842998fe45911442b711300ab251e46489a9a5e2ffc02ddefc4293f8784c2662:com.helger.phive.rules:phive-rules-en16931:4.3.7
    c82aaeda5ca16166034421393d160ec6cf77460b16e027eecc4bb5fe67a552ce:com.helger.phive.rules:phive-rules-peppol:4.3.7
    7317ddd448f58cdf4e550878d839be8d3324b410771ba462a35ced49ccb26a52:com.helger.ubl:ph-ubl21:10.2.0
)

(($# == 0)) || stop 2 "\"$1\" is not an argument of en16931.sh: it takes none."

fetch() {
    local hash artifact jar
    for jar in "${jars[@]}"; do
        hash=${jar%%:*} artifact=${jar#*:}
        mvn --batch-mode --no-transfer-progress "-Dmaven.repo.local=$work/repository" "$plugin:copy" \
            "-Dartifact=$artifact" "-DoutputDirectory=$work/jars" -Dmdep.stripVersion=true
        artifact=${artifact%:*}
        echo "$hash  $work/jars/${artifact##*:}.jar" | sha256sum --check --strict
        "$python" -m zipfile -e "$work/jars/${artifact##*:}.jar" "$work/jars/${artifact##*:}"
    done
    mkdir -p "$work/done/ubl"
    cp "$work/jars/phive-rules-en16931/external/schematron/1.3.16/ubl/EN16931-UBL-validation.xslt" \
        "$work/jars/phive-rules-peppol/external/schematron/openpeppol/2026.5/xslt/"PEPPOL-EN16931-UBL{,-SB}.xslt \
        "$work/done"
    cp -r "$work/jars/ph-ubl21/external/schemas/ubl21/common" "$work/done/ubl"
    mkdir "$work/done/ubl/maindoc"
    cp "$work/jars/ph-ubl21/external/schemas/ubl21/maindoc/"UBL-{Invoice,CreditNote}-2.1.xsd "$work/done/ubl/maindoc"
}

exec 3>&1 1>&2 # only the path goes to standard output
if [[ ! -d $folder ]]; then
    mkdir -p "$work"
    exec 9>"$cache/en16931.lock"
    flock --nonblock 9 || {
        echo "The rules of EN 16931 are being fetched by another run of en16931.sh: waiting for it."
        flock 9
    }
fi
if [[ ! -d $folder ]]; then
    command -v mvn >/dev/null ||
        stop 4 "The rules of EN 16931 are fetched by Maven, which is not there: install Debian's package maven."
    find_python
    step "Rules of EN 16931" "Maven Central" fetch
    mv "$work/done" "$folder"
    rm -rf "$work"
fi
echo "$folder" >&3
