"""PROTOCOL.md and the code say the same, as far as a test can read it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import gateway
from gateway.chain.grant import KINDS
from gateway.chain.layout import LANES, Layout
from gateway.config.model import StreamSection
from gateway.wire import cose, grant
from gateway.wire.command import CODES
from gateway.wire.form import FIRST_ADDED_KEY
from gateway.wire.kinds import class_at
from gateway.wire.signed import Stored
from gateway.wire.stream import Page
from tests.vectors import make
from tests.wire.samples import EXAMPLES, RAW_TOKENS
from tests.wire.test_places import places

PACKAGE = Path(gateway.__file__).parent
PAGE = (PACKAGE / "PROTOCOL.md").read_text("utf-8")
HEADINGS = re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE)
SOURCES = {path.relative_to(PACKAGE): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def section(heading: str) -> str:
    """The text below a heading, up to the next of its level."""
    found = re.search(rf"^(##+) {re.escape(heading)}$(.*?)(?=^\1 |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[2]


def table(heading: str, columns: str) -> list[list[str]]:
    """The rows of the table in a section whose first columns are headed so."""
    lines = section(heading).splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(f"| {columns} |"))
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


OBJECTS = {row[0]: row[1:] for row in table("What is stored", "object")}
# What a place in the table stands for.
PLACES = {
    "<YYYY-MM-DD>": "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "<YYYY-MM>": "[0-9]{4}-[0-9]{2}",
    "<first unit, 16 hex>": "[0-9a-f]{16}",
    "<first window, 16 hex>": "[0-9a-f]{16}",
    "<window after the last, 16 hex>": "[0-9a-f]{16}",
    "<id hex>": "[0-9a-f]{32}",
    "<kid hex>": "[0-9a-f]{32}",
    "<start, 16 hex>": "[0-9a-f]{16}",
    "<serial, 16 hex>": "[0-9a-f]{16}",
    "{new,day,month}": "(new|day|month)",
}


def pattern(name: str) -> str:
    """What a name in the table matches, below the stream's prefix where it is not a whole key."""
    parts = re.split("({.*?}|<.*?>)", name)
    prefix = "" if name.startswith("v1/") else "v1/[0-9a-f]{32}/"
    return prefix + "".join(PLACES.get(part) or re.escape(part) for part in parts)


def test_the_table_of_objects_is_the_code() -> None:
    kinds = {kind.TYPE: kind for kind in EXAMPLES}
    assert {type_string for type_string, *_ in OBJECTS.values()} == set(kinds)
    patterns = {name: pattern(row[1].strip("`")) for name, row in OBJECTS.items() if row[1].startswith("`")}
    assert {OBJECTS[name][0] for name in patterns} == {
        kind.TYPE for kind in kinds.values() if issubclass(kind, Stored)
    }
    stored: list[Any] = [item for item in EXAMPLES.values() if isinstance(item, Stored)]
    month = Page(bytes(16), "2026-01", 900, 0, 1, (bytes(8),), (bytes(32),), None)
    more = (month, RAW_TOKENS)
    for item in (*stored, *more):
        for key in places(item):
            fitting = [name for name, regex in patterns.items() if re.fullmatch(regex, key)]
            assert [OBJECTS[name][0] for name in fitting] == [item.TYPE], key
            assert class_at(key) is type(item)
    # and every row is some object's
    keys = [key for item in (*stored, *more) for key in places(item)]
    assert all(any(re.fullmatch(regex, key) for key in keys) for regex in patterns.values())


def test_the_kinds_of_grants_are_the_codes() -> None:
    assert [row[0] for row in table("Grants", "kind")] == list(KINDS)


def test_the_states_of_a_command_and_their_codes_are_the_codes() -> None:
    rows = {row[0]: tuple(row[1].split(", ")) for row in table("Commands", "state | code")}
    assert rows == CODES


def test_the_lanes_are_the_codes() -> None:
    rows = {row[0].strip("`"): row[1] for row in table("Words", "lane | unit, scale")}
    assert rows == {lane.name: f"{lane.unit}, {lane.scale}" for lane in LANES.values()}


def test_the_entries_of_a_grant_body_are_the_codes() -> None:
    body = re.search(r"grant body  \{(.*?)\}", section("Grants"), re.DOTALL)
    assert body is not None
    entries = re.findall(r"(\? )?([0-9]+): ", body[1])
    assert [(int(key), bool(optional)) for optional, key in entries] == [
        (field.key, field.optional) for field in grant._BODY_FIELDS
    ]


def test_the_labels_are_the_codes() -> None:
    """Type strings, and what keys are derived with."""
    label = re.compile(r"gw1/[a-z0-9]+")
    written = {name for text in SOURCES.values() for name in re.findall(r"b?\"(gw1/[a-z0-9]+)\"", text)}
    topics = {"gw1/price"}  # of MQTT, which are no labels
    assert written == set(label.findall(PAGE)) - topics
    assert all(topic in section("MQTT") for topic in topics)


def test_numbers_are_the_codes() -> None:
    stored = section("What is stored")
    assert f"nested at most {cose._DEPTH - 1} deep" in stored
    assert f"entries have keys below {FIRST_ADDED_KEY}," in stored
    assert f"default {StreamSection().chunk_units} units" in stored
    words = section("Words")
    assert f"default {Layout().link_units})" in words
    sealed = re.search(r"encapsulated key \(([0-9]+) bytes\) \| ciphertext \(([0-9]+)\)", section("Grants"))
    assert sealed is not None
    assert int(sealed[1]) + int(sealed[2]) == grant.SEALED_K0_BYTES


def test_the_vectors_are_named() -> None:
    named = re.findall(r"`([a-z0-9-]+)\.json`", section("Test vectors"))
    assert sorted(named) == sorted(path.stem for path in make.HERE.glob("*.json"))
    assert set(make.everything()) <= set(named)


def test_rules_are_numbered_in_order() -> None:
    rules = re.findall(r"^([0-9]+)\. ", section("Sealing and opening"), re.MULTILINE)
    assert rules == [str(number) for number in range(1, 7)]


def citations() -> list[tuple[str, str]]:
    """(file, what it cites) of each citation of PROTOCOL.md in the code."""
    found = []
    for path, text in SOURCES.items():
        line = re.sub(r"\s+(?:# )?", " ", text)
        found += [(str(path), f'"{words}"') for words in re.findall(r'PROTOCOL\.md, "([^"]+)"', line)]
        for one, two in re.findall(r"PROTOCOL\.md, rules? ([0-9]+)(?: and ([0-9]+))?", line):
            found += [(str(path), f"rule {number}") for number in (one, two) if number]
    return found


@pytest.mark.parametrize(("path", "cited"), citations())
def test_what_the_code_cites_is_there(path: str, cited: str) -> None:
    """A section, a rule, or words with which a sentence begins."""
    if cited.startswith("rule "):
        assert re.search(rf"^{cited[5:]}\. ", section("Sealing and opening"), re.MULTILINE)
    else:
        sentence = rf"(^|\. ){re.escape(cited[1:-1])}"
        assert cited[1:-1] in HEADINGS or re.search(sentence, PAGE, re.MULTILINE)


def test_citations_are_found() -> None:
    assert {("stream/chunks.py", '"What a reader checks"'), ("intervals/sampler.py", "rule 5")} < set(
        citations()
    )
