#!/bin/sh
# The validation rules of EN 16931, release 1.3.16 (in phive-rules-en16931 4.3.7), know the currency of Sao Tome and
# Principe as STD, which ISO 4217 replaced by STN in 2018: a valid invoice in STN breaks BR-CL-03 and BR-CL-04, and
# one in STD keeps them.
#
# Needs Maven and Python's venv. Exits with 0 while that is so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mvn --batch-mode --quiet "-Dmaven.repo.local=$folder/repository" \
    org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
    -Dartifact=com.helger.phive.rules:phive-rules-en16931:4.3.7 "-DoutputDirectory=$folder"
python3 -m zipfile -e "$folder/phive-rules-en16931-4.3.7.jar" "$folder/jar"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet saxonche==13.1.1
cat > "$folder/currency.py" <<'PYTHON'
import re
import sys

from saxonche import PySaxonProcessor

UBL = "urn:oasis:names:specification:ubl:schema:xsd:"
INVOICE = f"""<Invoice xmlns="{UBL}Invoice-2" xmlns:cbc="{UBL}CommonBasicComponents-2"
    xmlns:cac="{UBL}CommonAggregateComponents-2"><cbc:DocumentCurrencyCode>%s</cbc:DocumentCurrencyCode>
    <cac:LegalMonetaryTotal><cbc:PayableAmount currencyID="%s">1.00</cbc:PayableAmount></cac:LegalMonetaryTotal>
    </Invoice>"""

found = {}
with PySaxonProcessor(license=False) as processor:
    rules = processor.new_xslt30_processor().compile_stylesheet(stylesheet_file=sys.argv[1])
    for currency in ("EUR", "STN", "STD"):
        report = rules.transform_to_string(xdm_node=processor.parse_xml(xml_text=INVOICE % (currency, currency)))
        found[currency] = sorted(set(re.findall(r'id="(BR-CL-0[34])"', report)))
        print(currency, "breaks", ", ".join(found[currency]) or "no rule about currencies")
assert found == {"EUR": [], "STN": ["BR-CL-03", "BR-CL-04"], "STD": []}
PYTHON
"$folder/venv/bin/python" "$folder/currency.py" \
    "$folder/jar/external/schematron/1.3.16/ubl/EN16931-UBL-validation.xslt"
