"""The SBOM of an image, in SPDX 2.3 (JSON): Debian's packages, the gateway's Python packages, the board's
firmware.

sbom.py ROOT STATUS NAME prints that of the root ROOT under the name NAME. Debian's packages come from
/usr/share/gateway/dpkg-status in ROOT, Python's from their dist-info, those of the boot partition alone from
STATUS, the dpkg status of the builder. Without a clock of its own: SOURCE_DATE_EPOCH is when it was made.
"""

from __future__ import annotations

import email.parser
import json
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

BOOT = {"raspi-firmware"}
"""Packages of which files are in the boot partition, and not in the root."""


def paragraphs(path: Path) -> Iterator[dict[str, str]]:
    """The packages of a dpkg status."""
    for text in path.read_text("utf-8").split("\n\n"):
        if text.strip():
            yield dict(email.parser.HeaderParser().parsestr(text).items())


def debian(status: Path, names: set[str] | None = None) -> Iterator[dict[str, object]]:
    """SPDX packages of those of a dpkg status, of `names` alone where given."""
    for package in paragraphs(status):
        name, version, kind = package["Package"], package["Version"], package["Architecture"]
        if names is None or name in names:
            source = package.get("Source", name).split(" ")[0]
            # https://github.com/package-url/purl-spec: a plus and a colon are encoded in a version.
            spelled = version.replace("+", "%2B").replace(":", "%3A")
            yield entry(
                "deb",
                name,
                version,
                f"pkg:deb/debian/{name}@{spelled}?arch={kind}&distro=trixie",
                f"source {source}",
            )


def python(root: Path) -> Iterator[dict[str, object]]:
    """SPDX packages of the gateway's virtual environment."""
    for path in sorted(root.glob("opt/gateway/*/lib/python3*/site-packages/*.dist-info/METADATA")):
        about = email.parser.HeaderParser().parsestr(path.read_text("utf-8"))
        name, version = str(about["Name"]), str(about["Version"])
        spelled = re.sub(r"[-_.]+", "-", name).lower()
        stated = about["License-Expression"] or about["License"] or ""
        licence = (
            stated
            if re.fullmatch(r"[A-Za-z0-9.+ ()-]{2,80}", stated) and about["License-Expression"]
            else None
        )
        yield entry("python", name, version, f"pkg:pypi/{spelled}@{version}", None, licence)


def entry(
    kind: str, name: str, version: str, purl: str, comment: str | None, licence: str | None = None
) -> dict[str, object]:
    return {
        "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{kind}-{name}-{version}"),
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": licence or "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}
        ],
        **({"comment": comment} if comment else {}),
    }


def document(root: Path, builder: Path, name: str) -> dict[str, object]:
    """The SPDX document."""
    made = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    image = entry("image", name, name.rsplit("-", 1)[1], f"pkg:generic/{name}", None)
    image["SPDXID"] = "SPDXRef-image"
    status = root / "usr/share/gateway/dpkg-status"
    packages = [*debian(status), *debian(builder, BOOT), *python(root)]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:gateway:sbom:{name}:{os.environ['SOURCE_DATE_EPOCH']}",
        "creationInfo": {"created": made, "creators": ["Tool: image/sbom.py"]},
        "packages": [image, *packages],
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": "SPDXRef-image",
            },
            *(
                {
                    "spdxElementId": "SPDXRef-image",
                    "relationshipType": "CONTAINS",
                    "relatedSpdxElement": package["SPDXID"],
                }
                for package in packages
            ),
        ],
    }


if __name__ == "__main__":
    root, builder, name = sys.argv[1:]
    json.dump(document(Path(root), Path(builder), name), sys.stdout, indent=1, sort_keys=True)
    print()
