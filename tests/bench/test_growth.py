"""The paper's Figures 4 and 5: what ran and what is modelled stay apart, and the command draws both."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bench import growth, growth_plot
from gateway.bench.growth import STAGES, Point, Stage, completed
from gateway.cli.main import main
from gateway.errors import Unavailable

_CHAIN: tuple[Stage, ...] = ("publication", "verification", "words", "load")
_SECONDS = st.floats(1e-3, 1e3)


@st.composite
def _runs(draw: st.DrawFn) -> list[Point]:
    """Sizes that ran through the store, the larger ones perhaps in part; and one of the load from Parquet."""
    first, *others = sorted(draw(st.sets(st.integers(1, 5000), min_size=1, max_size=4)))
    stages: list[Stage] = [stage for stage in STAGES if stage != "end to end"]
    ran = [(first, stage) for stage in stages]
    ran += [(meters, stage) for meters in others for stage in draw(st.sets(st.sampled_from(stages)))]
    through = [Point(meters, stage, "store", draw(_SECONDS)) for meters, stage in ran]
    return [*through, Point(10_000, "load", "parquet", draw(_SECONDS))]


@given(_runs())
def test_a_model_never_stands_where_something_ran(ran: list[Point]) -> None:
    found = completed(ran)
    known = {(one.meters, one.stage): one for one in found}
    assert len(known) == len(found)
    assert [known[one.meters, one.stage] for one in ran] == ran
    most = max(one.meters for one in ran if one.kind == "store")
    for one in found:
        if one.kind == "store":
            assert one.meters <= most
        elif one.stage != "end to end":
            assert one in ran or one.kind == "model"
    assert {one.meters for one in found} == {one.meters for one in ran} | {10_000, 100_000, 1_000_000}


@given(_runs())
def test_the_end_to_end_delay_is_the_sum_of_its_stages(ran: list[Point]) -> None:
    known = {(one.meters, one.stage): one for one in completed(ran)}
    for (meters, stage), one in known.items():
        if stage == "end to end":
            parts = [known[meters, part] for part in _CHAIN]
            assert one.seconds == pytest.approx(sum(part.seconds for part in parts))
            whole = all(part.kind == "store" for part in parts)
            assert one.kind == ("store" if whole else "model")


@given(_runs())
def test_a_model_takes_as_long_a_meter_as_the_largest_run(ran: list[Point]) -> None:
    for one in completed(ran):
        if one.kind == "model" and one.stage != "end to end":
            same = [other for other in ran if other.stage == one.stage]
            largest = max(same, key=lambda other: other.meters)
            assert one.rate == pytest.approx(largest.rate)


@pytest.mark.slow
def test_the_command_runs_homes_through_a_store_and_draws_both_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(growth, "_STORE", (4,))
    monkeypatch.setattr(growth, "_PARQUET", (30,))
    monkeypatch.setattr(growth, "HOMES_A_REGION", 12)
    folder = tmp_path / "figures"
    assert main(["bench", "paper-figures", str(folder)]) == 0
    out = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO((folder / "figures.csv").read_text())))
    kinds = {(int(row["meters"]), row["stage"]): row["kind"] for row in rows}
    assert {kinds[4, stage] for stage in STAGES} == {"store"}
    assert kinds[30, "load"] == "parquet"
    assert {kinds[1_000_000, stage] for stage in STAGES} == {"model"}
    assert all(float(row["delay_s"]) > 0 and float(row["meters_per_s"]) > 0 for row in rows)
    for said in ("Filled circles ran", "(4 of them)", "made for 30 homes", "Hollow circles did not run"):
        assert said in out
    for number in growth_plot.FIGURES:
        assert (folder / f"figure{number}.png").read_bytes().startswith(b"\x89PNG")
        drawing = (folder / f"figure{number}.svg").read_text()
        assert drawing.startswith("<?xml")


def test_the_command_says_where_it_cannot_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it measures; and a measurement that ends leaves no folder."""

    def ends(*_: object) -> None:
        raise Unavailable("no store")

    monkeypatch.setattr(growth, "measured", ends)
    assert main(["bench", "paper-figures", str(tmp_path / "nodir" / "x")]) == 4
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert main(["bench", "paper-figures", str(tmp_path / "file" / "x")]) == 2
    assert f"{tmp_path / 'file'} is no folder in which you may write" in capsys.readouterr().err
    assert main(["bench", "paper-figures", str(tmp_path / "file")]) == 2
    assert f"{tmp_path / 'file'}" in capsys.readouterr().err
