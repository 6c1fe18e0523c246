"""The soak itself, for seconds, and what it takes for growth."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.soak import Plan, Report, Sample, Sealed, as_json, soak
from tests.bench.trend import trend

PLAN = Plan(meters=3, seconds=4, sample_s=0.5, link_units=2)


@pytest.mark.slow
async def test_a_short_soak(tmp_path: Path) -> None:
    said: list[str] = []
    report = await soak(PLAN, tmp_path, said.append)
    assert said[0] == "all 3 streams have begun"
    assert [one.meter for one in report.sealed] == ["01-modbus", "02-sml", "03-dlms"]
    assert all(one.units >= 4 and one.read > 0 for one in report.sealed)
    assert len(report.samples) > 6
    assert report.samples[-1].cpu > 0
    assert report.samples[-1].memory > 10
    assert report.samples[-1].threads > 1
    assert report.samples[-1].files > 5
    assert json.loads(json.dumps(as_json(report)))["trends"].keys() == {"memory", "threads", "files"}
    assert any(line.startswith("readings sealed: ") for line in report.lines())


def run(memory: float = 0, threads: int = 0, files: int = 0, noise: float = 0.3) -> Report:
    """A run of ten minutes in which these come in addition, evenly, beside noise."""
    chance = random.Random(1)
    samples = [
        Sample(
            2.0 * at,
            0.2 * at,
            50 + memory * at / 300 + chance.gauss(0, noise),
            8 + threads * at // 300,
            20 + files * at // 300 + chance.choice((0, 0, 1)),
        )
        for at in range(301)
    ]
    return Report(Plan(32, 600), "here", samples, [Sealed("main", 600, 600, 600, 1.0)])


@pytest.mark.parametrize(
    ("report", "complaints"),
    [
        (run(), []),
        (run(noise=5), []),
        (run(memory=3), []),  # less than what is allowed
        (run(memory=9), ["memory grows"]),
        (run(threads=6, files=9), ["threads grows", "files grows"]),
        (run(memory=-50), []),
        (replace(run(), sealed=[Sealed("main", 600, 590, 600, 1.0)]), ["main: 590 readings of 600"]),
        (
            replace(run(), sealed=[Sealed("main", 500, 500, 500, 100.0)]),
            ["main: its units end 100 s before the run"],
        ),
    ],
)
def test_what_fails(report: Report, complaints: list[str]) -> None:
    assert report.complaints == complaints
    assert [line.removeprefix("FAILED: ") for line in report.lines() if "FAILED" in line] == complaints
    assert report.cpu_shares == pytest.approx([10.0] * 4)


def test_what_rises_before_the_last_two_thirds_is_no_growth() -> None:
    report = run()
    warm = [
        replace(sample, memory=sample.memory - max(0, 100 - at)) for at, sample in enumerate(report.samples)
    ]
    assert replace(report, samples=warm).complaints == []


def test_a_trend_is_a_line_and_its_error() -> None:
    seconds = [10.0 * at for at in range(361)]
    found = trend(seconds, [5 + 3 * at / 3600 for at in seconds])
    assert (found.slope, found.error, found.hours) == pytest.approx((3, 0, 1), abs=1e-9)
    chance = random.Random(2)
    slopes = [trend(seconds, [chance.gauss(0, 1) for _ in seconds]) for _ in range(200)]
    assert sum(abs(one.slope) < 2 * one.error for one in slopes) > 170  # the error is what it says
    assert not any(one.grows(1.0) for one in slopes)
