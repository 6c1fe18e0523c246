"""`gateway bench centre` runs as documented, and counts the signatures that ingest has verified."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from gateway.bench import centre
from gateway.cli.main import main
from gateway.wire import es256


@pytest.mark.slow
def test_it_measures_every_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("_REPEAT", 1), ("_PASSES", 1), ("_DAYS", 2), ("_OFTEN", 2), ("_WORKERS", 2)):
        monkeypatch.setattr(centre, name, value)
    assert main(["bench", "centre", "--homes", "40", "--json"]) == 0
    found = {figure["name"]: figure for figure in json.loads(capsys.readouterr().out)}
    ingest = {f"ingest_{what}" for what in ("quarter", "rate", "memory", "day")}
    words = {f"words_{who}" for who in ("centre", "service")}
    assert found.keys() == ingest | words | {"day_sums", "day_sums_at_once", "dask"}
    for figure in found.values():
        assert figure["ratio"] == figure["ours"] / figure["rival"]
        assert figure["rival"] > 0


def test_the_signatures_of_a_pass_are_those_that_it_has_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[bytes] = []
    verifies = es256.verifies_digest

    def counted(*arguments: object) -> bool:
        verified.append(arguments[1])  # type: ignore[arg-type]
        return verifies(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(es256, "verifies_digest", counted)
    street = centre._Street(tmp_path, 2)
    street.quarter()
    street.take_in()
    for seals, windows, count in (
        (street.quarter, 1, 3),  # the head, a chunk, its tokens
        (street.rest, 94, 96),  # the head, 94 chunks, the day's tokens
    ):
        seals()
        verified.clear()
        assert street.take_in() == 2 * windows
        found = street.signatures()
        assert len(found) == 2 * count
        digests = sorted(hashlib.sha256(one.message).digest() for one in found)
        assert sorted(verified[: len(found)]) == digests
        assert len(verified) == len(found) + 2  # and the descriptors, which `signatures` reads
        for one in found:
            one.verify()
    street.close()
