"""Every parser on inputs by chance and on all that ever failed, and the driver on parsers that fail."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import pytest

from tests.fuzz.__main__ import REGRESSIONS, fuzz, main
from tests.fuzz.engine import Failed, Target, Trial, long_inputs, mutations
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.slow

INPUTS = 1500
FAILED_ONCE = sorted(path for path in REGRESSIONS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_by_chance(name: str) -> None:
    trial = Trial(TARGETS[name])
    for data in islice(mutations(TARGETS[name].seeds(), random.Random(name)), INPUTS):
        trial(data)


@pytest.mark.parametrize("name", TARGETS)
def test_one_thing_over_and_over(name: str) -> None:
    trial = Trial(TARGETS[name])
    for data in islice(long_inputs(TARGETS[name].seeds()), 7):  # all of the shortest seed
        trial(data)


@pytest.mark.parametrize("path", FAILED_ONCE, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_failed_once(path: Path) -> None:
    Trial(TARGETS[path.parent.name]).weigh(path.read_bytes())


def test_the_table_of_regressions_is_of_targets_that_exist() -> None:
    assert {path.name for path in REGRESSIONS.glob("*") if path.is_dir()} <= set(TARGETS)


def endless(data: bytes) -> None:
    while data:
        pass


def hungry(data: bytes) -> None:
    bytearray(1 << 21)


def wrong(data: bytes) -> None:
    if data[:1] == b"x":
        raise KeyError(data)
    raise ValueError


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (wrong, "KeyError"),
        (hungry, "1 bytes took 2097.* bytes of memory"),
        (endless, "more than 0.1 s of CPU"),
    ],
)
def test_a_bad_parser_is_found(check: object, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.engine.LIMIT_S", 0.1)
    assert callable(check)
    with pytest.raises(Failed, match=sentence):
        Trial(Target("bad", ValueError, check, lambda: [b""])).weigh(b"x")


def test_chance_finds_what_is_near_a_good_input() -> None:
    assert any(data[:1] == b"x" for data in islice(mutations([b"a good one"], random.Random(1)), 20_000))


def test_long_inputs_are_long_and_not_endless() -> None:
    made = list(long_inputs([b"seed", b""]))
    assert all(1 << 16 <= len(data) < 1 << 17 for data in made)
    assert len(made) < 300


def test_the_driver_tries_a_target_in_a_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = fuzz("sampler-state", 2000, 60, tmp_path)
    assert (result.tried, result.failed, result.kept) == (2000, None, None)
    assert main(["--list"]) == 0
    assert "sampler-state" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "sentence"), [("divides", "ZeroDivisionError"), ("vanishes", "ended with 3")]
)
def test_what_fails_is_kept(name: str, sentence: str, tmp_path: Path) -> None:
    result = fuzz(name, 200_000, 60, tmp_path, table="tests.fuzz.planted")
    assert result.failed is not None
    assert sentence in result.failed
    assert result.kept is not None
    assert result.kept.parent == tmp_path / name
    assert result.kept.read_bytes()[:1] == b"\x80"


def test_what_waits_for_ever_is_ended(tmp_path: Path) -> None:
    result = fuzz("sleeps", 200_000, 60, tmp_path, table="tests.fuzz.planted", silent_s=3)
    assert result.failed == "the process ended with -9"
