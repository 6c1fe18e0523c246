"""A total is held against its parts, and no meter that only cuts its numbers is refused."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.totals import Shown, hold_against_parts, the_finer

KWH, WH = 1_000_000, 1_000


def shown(mwh: int, step: int = WH) -> Shown:
    return Shown(Fraction(mwh), Fraction(step))


energies = st.integers(0, 10**9) | st.integers(0, 10**5).map(lambda kwh: kwh * KWH)
places = st.sampled_from([100, WH, 10 * WH, 100 * WH, KWH])


@given(st.lists(energies, min_size=1, max_size=4), places, st.integers(0, 19 * WH), st.booleans())
def test_numbers_that_are_cut_alike_always_fit(
    parts: list[int], place: int, read_later: int, fine_scaler: bool
) -> None:
    step = min(place, 100) if fine_scaler else place
    total = shown((sum(parts) + read_later) // place * place, step)
    hold_against_parts("import", total, [shown(part // place * place, step) for part in parts], complete=True)


@given(st.lists(energies, min_size=1, max_size=4), st.integers(25 * WH + 1, 10**12))
def test_what_is_apart_by_more_is_refused_with_both_numbers(parts: list[int], apart: int) -> None:
    fine = [shown(part // WH * WH + WH) for part in parts]  # at least 1 Wh, so that not all are 0
    added = sum(int(part.mwh) for part in fine)
    for total in (added + apart + KWH * 5, added - apart - KWH * 5):
        if total < 0:
            continue
        with pytest.raises(MeterError, match="the meter shows export twice, and the two differ") as caught:
            hold_against_parts("export", shown(total, 1), fine, complete=True)
        assert f"{total / KWH:.3f} kWh in all" in str(caught.value)
        assert f"{added / KWH:.3f} kWh as the sum" in str(caught.value)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_edge(sign: int) -> None:
    """20 Wh of a second, 1 Wh for each tariff, and a thousandth for the total."""
    parts = [shown(162_246_111), shown(155_449_112)]
    added = 162_246_111 + 155_449_112
    hold_against_parts("import", shown(added + sign * 22_001, 1), parts, complete=True)
    with pytest.raises(MeterError, match=r"317\.7\d\d kWh in all|317\.673 kWh in all"):
        hold_against_parts("import", shown(added + sign * 22_002, 1), parts, complete=True)


def test_tariffs_that_are_not_all_listed_may_be_less_but_not_more() -> None:
    parts = [shown(100_123 * WH), shown(23_456 * WH)]
    hold_against_parts("import", shown(500_001 * WH), parts, complete=False)
    with pytest.raises(MeterError, match="500\\.001 kWh in all, but 123\\.579 kWh as the sum of its tariffs"):
        hold_against_parts("import", shown(500_001 * WH), parts, complete=True)
    with pytest.raises(MeterError, match="12\\.345 kWh in all, but 123\\.579 kWh"):
        hold_against_parts("import", shown(12_345 * WH), parts, complete=False)


def test_tariffs_that_the_meter_does_not_use() -> None:
    hold_against_parts("import", shown(500_001 * WH), [shown(0), shown(0)], complete=True)
    hold_against_parts("import", shown(500_001 * WH), [], complete=False)


def test_whole_kilowatt_hours_under_a_fine_scaler() -> None:
    """As an eBZ DD3 without its PIN; a tariff of 0 may be anything below 1 kWh."""
    hold_against_parts(
        "import", shown(13_025 * KWH, 100), [shown(13_023 * KWH, 100), shown(0)], complete=True
    )
    unused = [shown(0, 100)] * 3
    hold_against_parts("import", shown(13_026 * KWH, 100), [shown(13_023 * KWH, 100), *unused], complete=True)
    with pytest.raises(MeterError):
        hold_against_parts(
            "import", shown(13_027 * KWH, 100), [shown(13_023 * KWH, 100), shown(0)], complete=True
        )


def test_one_register_under_two_codes() -> None:
    coarse, fine = shown(123 * KWH, KWH), shown(123_456 * WH)
    assert the_finer("import", coarse, fine) == the_finer("import", fine, coarse) == fine
    assert the_finer("import", fine, fine) == fine
    for first, second in ((fine, shown(123_457 * WH)), (coarse, shown(124_000 * WH)), (shown(5), shown(6))):
        with pytest.raises(
            MeterError, match=r"the meter has two different registers for import: .* kWh and .* kWh"
        ):
            the_finer("import", first, second)


def test_no_repr_has_an_energy() -> None:
    assert "123456" not in repr(shown(123_456))
