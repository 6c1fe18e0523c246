"""What ships with the gateway may ship under Apache-2.0: nothing of it is under the GPL, AGPL or BSL."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.markers import Marker

import hatch_build

ROOT = Path(__file__).parents[1]
_FORBIDDEN = re.compile(r"\b(A?GPL|GNU (Affero )?General Public|BSL|BUSL|Business Source)", re.IGNORECASE)


def _shipped() -> set[str]:
    """The packages that installing the gateway installs here: its dependencies, and theirs."""
    packages = {p["name"]: p for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    found: set[str] = set()
    waiting = ["gateway"]
    while waiting:
        package = packages[waiting.pop()]
        extras = [d for extra in package.get("optional-dependencies", {}).values() for d in extra]
        for needed in [*package.get("dependencies", []), *extras]:
            here = "marker" not in needed or Marker(needed["marker"]).evaluate()
            if here and needed["name"] not in found:
                found.add(needed["name"])
                waiting.append(needed["name"])
    return found


def _licence(name: str) -> str:
    """What a package says of its licence: expression, classifiers, or the first lines of the text."""
    about = metadata(name)
    texts = [about.get_all(field) or [] for field in ("License-Expression", "Classifier", "License")]
    return "\n".join(text[:200] for found in texts for text in found)


def test_no_shipped_package_is_under_a_licence_that_cannot_ship() -> None:
    shipped = _shipped()
    assert {"cryptography", "pymodbus", "boto3", "numpy"} <= shipped
    for name in shipped:
        try:
            licence = _licence(name)
        except PackageNotFoundError:
            continue  # another platform's
        assert licence, f"{name} does not say its licence"
        assert not _FORBIDDEN.search(licence), f"{name}: {licence}"


def test_no_shipped_script_is_under_a_licence_that_cannot_ship() -> None:
    hatch_build.build()
    licences = (hatch_build.BUILT / "LICENCES.txt").read_text("utf-8")
    for name in hatch_build.SHIPPED:
        assert re.search(rf"^{name} [0-9.]+ \((MIT|BSD-0-Clause)\)$", licences, re.MULTILINE), name
    assert not _FORBIDDEN.search(licences)
