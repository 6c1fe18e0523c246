"""The TypeScript reader against the vectors."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import pytest

from gateway.wire.cose import kid_of
from tests.household.web.reader import Reader, ReaderRefused
from tests.vectors import make

FAR = 2**52  # ms of Unix time, beyond every vector


def load(name: str) -> dict[str, Any]:
    content = make.stored(name)
    assert content is not None
    return content


def cases(name: str, part: str = "cases") -> list[Any]:
    """A parameter for each case, named by what it is about."""
    return [
        pytest.param(case, id=str(case.get("case") or number)) for number, case in enumerate(load(name)[part])
    ]


def bucket_of(vector: dict[str, Any]) -> dict[str, bytes]:
    """The stored objects of a vector, as they lie in a bucket."""
    return {one["key"]: bytes.fromhex(one["cose"]) for one in vector["objects"] if one["key"]}


def kid(vector: dict[str, Any]) -> str:
    return kid_of(bytes.fromhex(vector["spki"])).hex()


def test_keys(reader: Reader) -> None:
    vector = load("keys")
    for link in vector["chain"]:
        answer = reader(
            "chain", k_0=vector["k_0"], m=link["m"], incarnation=str(int(link["incarnation"], 16))
        )
        assert answer == [link["k_m"], link["tokens_key"], link["openings_key"]]


@pytest.mark.parametrize("case", cases("keystream"))
def test_keystreams(reader: Reader, case: dict[str, Any]) -> None:
    for place, word in case["words"].items():
        found = bytes.fromhex(reader("keystream", key=case["key"], begin=8 * int(place), length=8))
        assert int.from_bytes(found, "little") == int(word, 16)
    if "sha256" in case:
        length = 8 * (case["link_units"] + 1)
        whole = bytes.fromhex(reader("keystream", key=case["key"], begin=0, length=length))
        assert hashlib.sha256(whole).hexdigest() == case["sha256"]


@pytest.mark.parametrize("case", cases("token"))
def test_tokens(reader: Reader, case: dict[str, Any]) -> None:
    sealed = [[str(window), str(int(incarnation, 16))] for window, incarnation in case["sealed"]]
    answer = reader(
        "token",
        k_0=case["k_0"],
        first=case["first_window"],
        width=len(case["p"][0]),
        words=case["words"],
        sealed=sealed,
        cuts=case.get("cuts", []),
    )
    for name in ("p", "masks"):
        assert answer[name] == [str(int(word, 16)) for words in case[name] for word in words], name
    assert answer["openings"] == "".join(case["openings"])
    assert answer["commitment"] == case["commitment"]


@pytest.mark.parametrize("name", ["objects", "pages"])
def test_every_object_is_read(reader: Reader, name: str) -> None:
    vector = load(name)
    for one in vector["objects"]:
        if not one["key"]:
            continue
        found = reader(
            "object",
            type=one["type"],
            key=one["key"],
            data=one["cose"],
            kid=kid(vector),
            spki=vector["spki"],
            unit_ms=vector["unit_ms"],
        )
        fields = one["fields"]
        assert found["stream"] == fields["stream"]
        for ours, theirs in {
            "seq": "seq", "incarnation": "incarnation", "first": "first", "count": "count",
            "nextUnit": "next_unit", "timeMs": "time_ms", "fromUnit": "from_unit", "step": "step",
        }.items():  # fmt: skip
            if theirs in fields:
                assert found[ours] == str(fields[theirs]), (one["key"], ours)
        for ours in ("lanes", "sums", "children", "commitment", "digest", "previous"):
            if ours in fields:
                assert found[ours] == fields[ours], (one["key"], ours)


@pytest.mark.parametrize("name", ["objects", "pages"])
def test_sums_of_windows(reader: Reader, name: str) -> None:
    vector = load(name)
    reader.holds(bucket_of(vector))
    reader("open", stream=vector["stream"], kid=kid(vector), seen=None)
    grants = [one["fields"]["grant"] for one in vector["objects"] if one["type"] == "gw1/tokens"]
    reader("grant", id=grants[0], k_0=vector["provider"]["k_0"])
    windows = reader("windows", **{"from": 0, "until": FAR})
    sums = list(zip(*vector["sums"].values(), strict=True))
    assert [[int(lane) for lane in window["lanes"]] for window in windows] == [list(one) for one in sums]
    unit_ms = vector["unit_ms"]
    assert windows[0]["start"] >= vector["runs"][0][1] * unit_ms
    assert all(a["end"] == b["start"] for a, b in pairwise(windows))
    for first in range(len(windows)):
        for end in range(first + 1, len(windows) + 1):
            some = reader("windows", **{"from": windows[first]["start"], "until": windows[end - 1]["end"]})
            assert some == windows[first:end]
            less = reader(
                "windows", **{"from": windows[first]["start"] + 1, "until": windows[end - 1]["end"] - 1}
            )
            assert less == windows[first + 1 : end - 1]


@pytest.mark.parametrize("case", cases("grant"))
def test_grant_bodies(reader: Reader, case: dict[str, Any]) -> None:
    try:
        body = reader("body", body=case["body"], unit_ms=case["unit_ms"])
    except ReaderRefused as error:
        pytest.fail(str(error))
    fields = case["fields"]
    for ours, theirs in {
        "id": "id", "stream": "stream", "provider": "provider", "lanes": "lanes", "zone": "zone",
        "purpose": "purpose", "kind": "kind", "tariff": "tariff", "partner": "partner",
    }.items():  # fmt: skip
        assert body[ours] == fields.get(theirs), ours
    for ours, theirs in {
        "granularity": "granularity", "first": "first", "until": "until", "issuedMs": "issued_ms",
        "serial": "serial", "quantum": "quantum", "kMin": "k_min",
    }.items():  # fmt: skip
        expected = fields.get(theirs)
        assert body[ours] == (str(expected) if expected is not None else None), ours
