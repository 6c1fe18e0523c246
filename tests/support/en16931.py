"""The rules of EN 16931 and of Peppol, and the schemas of UBL 2.1: what provisioning/en16931.sh fetches."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

_SVRL = "{http://purl.oclc.org/dsdl/svrl}"
_BROKEN = ("failed-assert", "successful-report")


def rules_folder() -> Path:
    """Where provisioning/en16931.sh keeps what it fetched, fetched or not."""
    script = Path(__file__).parents[2] / "provisioning" / "en16931.sh"
    [version] = re.findall(r"^version=(\S+)$", script.read_text(), re.MULTILINE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "gateway" / f"en16931-{version}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a document breaks: its id, how bad that is, and what it says."""

    rule: str
    flag: str
    text: str


class Rules:
    """The rules, compiled once."""

    def __init__(self, folder: Path) -> None:
        import saxonche
        import xmlschema

        self._processor = saxonche.PySaxonProcessor(license=False)
        xslt = self._processor.new_xslt30_processor()
        self._rules = {
            name: xslt.compile_stylesheet(stylesheet_file=str(folder / file))
            for name, file in (
                ("en16931", "EN16931-UBL-validation.xslt"),
                ("billing", "PEPPOL-EN16931-UBL.xslt"),
                ("selfbilling", "PEPPOL-EN16931-UBL-SB.xslt"),
            )
        }
        main, common = folder / "ubl" / "maindoc", folder / "ubl" / "common"
        self._schema = xmlschema.XMLSchema(
            str(main / "UBL-Invoice-2.1.xsd"),
            locations={
                "urn:un:unece:uncefact:data:specification:CoreComponentTypeSchemaModule:2": str(
                    common / "CCTS_CCT_SchemaModule.xsd"
                ),
                "http://www.w3.org/2000/09/xmldsig#": str(common / "xmldsig-core-schema.xsd"),
            },
        )
        self._schema.add_schema(str(main / "UBL-CreditNote-2.1.xsd"), build=True)

    def broken(self, document: bytes) -> list[Finding]:
        """What is wrong with a document: by its schema, by EN 16931, and by Peppol where it says that it
        keeps its rules. Warnings count too."""
        found = [Finding("XSD", "fatal", str(error)) for error in self._schema.iter_errors(document.decode())]
        node = self._processor.parse_xml(xml_text=document.decode())
        found += self._by("en16931", node)
        if b":poacc:selfbilling:3.0" in document:
            found += self._by("selfbilling", node)
        elif b":poacc:billing:3.0" in document:
            found += self._by("billing", node)
        return found

    def _by(self, name: str, node: Any) -> list[Finding]:
        report = ET.fromstring(self._rules[name].transform_to_string(xdm_node=node))
        return [
            Finding(one.get("id", ""), one.get("flag", ""), "".join(one.itertext()).strip())
            for kind in _BROKEN
            for one in report.iter(f"{_SVRL}{kind}")
        ]
