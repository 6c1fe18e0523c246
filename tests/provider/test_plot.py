"""A load curve shows what the table has: heights, holes, units, and the time of a place."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gateway.chain.layout import Layout
from gateway.errors import UsageError
from gateway.provider.plot import MOST_HOMES, load_curve
from gateway.provider.query import Query
from gateway.provider.table import Table
from tests.provider.street import Street
from tests.stream.stream import START
from tests.stream.stream import Home as Gateway

QUARTER, DAY = 900_000, 86_400


@pytest.fixture
def street(tmp_path: Path) -> Street:
    return Street.new(tmp_path)


def joins(street: Street, mwh: int, lanes: tuple[str, ...] = ("import",), days: int = 2) -> Gateway:
    """A home with the same sum in each quarter hour."""
    gateway = street.joins(Gateway(lanes, layout=Layout(QUARTER, 96), start=START // 900, chunk_units=96))
    gateway.seal({lane: [mwh] * 96 * days for lane in lanes})
    gateway.grant(street.provider.card, "15min")
    return gateway


class Drawn:
    """The axes of the last picture."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.figure: Figure
        save = Figure.savefig

        def keep(figure: Figure, *args: object, **kwargs: object) -> None:
            self.figure = figure
            save(figure, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(Figure, "savefig", keep)

    @property
    def axes(self) -> Axes:
        return self.figure.axes[0]

    def heights(self) -> dict[str, list[float]]:
        """The heights of each named curve."""
        return {
            str(patch.get_label()): np.asarray(patch.get_data().values).round(6).tolist()  # type: ignore[attr-defined]
            for patch in self.axes.patches
            if not str(patch.get_label()).startswith("_")
        }


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    return Drawn(monkeypatch)


def test_quarter_hours_are_mean_power(street: Street, drawn: Drawn) -> None:
    joins(street, 500_000)
    load_curve(street.table(), "png")
    assert drawn.heights() == {"import": [2.0] * 192}  # 0.5 kWh in 15 min
    assert drawn.axes.get_ylabel() == "mean power in kW"
    assert street.gateways[0].id.hex() in drawn.axes.get_title()


def test_days_are_energy(street: Street, drawn: Drawn) -> None:
    joins(street, 500_000)
    load_curve(street.table(Query("day")), "png")
    assert drawn.heights() == {"import": [48.0] * 2}
    assert drawn.axes.get_ylabel() == "energy in kWh"


def test_a_few_homes_are_drawn_beside_their_total(street: Street, drawn: Drawn) -> None:
    for mwh in (100_000, 200_000):
        joins(street, mwh)
    load_curve(street.table(), "png")
    first, second = (f"{gateway.id.hex()[:8]}..." for gateway in street.gateways)
    assert drawn.heights() == {
        first: [0.4] * 192,
        second: [0.8] * 192,
        "import, total of 2 homes": [1.2] * 192,
    }


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Mühle $1 & $2", r"Mühle \$1 & \$2"),
        ("_7", " _7"),
        ("a\nb", "a\ufffdb"),
        ("家" * 30, "家" * 21 + "..."),
    ],
)
def test_names_are_shown_as_they_are(street: Street, drawn: Drawn, name: str, shown: str) -> None:
    for _ in range(2):
        joins(street, 1, days=1)
    table = street.table()
    named = replace(table, homes=(replace(table.homes[0], name=name), *table.homes[1:]))
    load_curve(named, "svg")
    assert next(iter(drawn.heights())) == shown
    [legend] = drawn.figure.legends
    assert [str(text.get_text()) for text in legend.get_texts()] == list(drawn.heights())
    load_curve(named.home(0), "png")


def test_of_many_homes_the_total_alone(street: Street, drawn: Drawn) -> None:
    for _ in range(MOST_HOMES + 1):
        joins(street, 100_000, days=1)
    load_curve(street.table(), "png")
    assert drawn.heights() == {f"import, total of {MOST_HOMES + 1} homes": [3.6] * 96}


def test_what_is_missing_is_a_hole(street: Street, drawn: Drawn) -> None:
    gateway = joins(street, 250_000, ("import", "export"))
    gateway.objects = {key: data for key, data in gateway.objects.items() if "/grant/" not in key}
    card, day = street.provider.card, START // 900
    gateway.grant(card, "15min", ("import",), until=day + 4)
    gateway.grant(card, "15min", ("import",), first=day + 8, until=day + 12)
    gateway.grant(card, "15min", ("export",), first=day + 8, until=day + 12)
    load_curve(street.table(), "png")
    hole = float("nan")
    np.testing.assert_equal(
        drawn.heights(), {"import": [1.0] * 4 + [hole] + [1.0] * 4, "export": [hole] * 5 + [1.0] * 4}
    )
    edges = np.asarray(drawn.axes.patches[0].get_data().edges)  # type: ignore[attr-defined]
    quarters = ((edges - START / DAY) * 96).round(3).tolist()
    assert quarters == [0, 1, 2, 3, 4, 8, 9, 10, 11, 12]


def test_power_alone_is_its_mean(street: Street, drawn: Drawn) -> None:
    gateway = street.joins(Gateway(("power", "count")))
    gateway.seal({"power": [600] * 60 + [0] * 60, "count": [1] * 60 + [0] * 60})
    gateway.grant(street.provider.card, "1min")
    load_curve(street.table(), "png")
    np.testing.assert_equal(drawn.heights(), {"power": [0.6, float("nan")]})
    street.joins(gateway.fork())
    table = street.table()
    with pytest.raises(UsageError, match="a load curve needs import or export"):
        load_curve(table, "png")


def test_times_are_those_of_a_place(street: Street, drawn: Drawn) -> None:
    joins(street, 1)
    load_curve(street.table(), "png", ZoneInfo("Asia/Tokyo"))
    assert drawn.axes.get_xlabel() == "2026-03-01 to 2026-03-03 (JST)"
    assert drawn.axes.xaxis.get_offset_text().get_text() == ""
    labels = [str(label.get_text()) for label in drawn.axes.get_xticklabels()]
    midnight = labels.index("02 Mar")
    assert drawn.axes.get_xticks()[midnight] == pytest.approx((START + 15 * 3600) / DAY)


def test_a_curve_stands_clear_of_the_pictures_edge(street: Street, drawn: Drawn) -> None:
    """Also where it hardly changes, and a day that ends at midnight is one day."""
    gateway = street.joins(
        Gateway(("import",), layout=Layout(QUARTER, 96), start=START // 900, chunk_units=96)
    )
    gateway.seal({"import": [500_000, 510_000] * 48})
    gateway.grant(street.provider.card, "15min")
    load_curve(street.table(), "png", ZoneInfo("UTC"))
    low, high = drawn.axes.get_ylim()
    assert (low, round(high, 3)) == (0, 2.142)
    assert drawn.axes.get_xlabel() == "2026-03-01 (UTC)"
    assert [name for name, one in drawn.axes.spines.items() if one.get_visible()] == ["left", "bottom"]


def test_the_same_table_gives_the_same_picture(street: Street) -> None:
    joins(street, 1)
    table = street.table()
    assert load_curve(table, "png").startswith(b"\x89PNG\r\n")
    picture = load_curve(table, "svg")
    assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"  # our own file
    assert load_curve(table, "svg") == picture


def test_nothing_to_draw(street: Street) -> None:
    with pytest.raises(UsageError, match="nothing to draw: a load curve needs"):
        load_curve(Table.of_homes([]), "png")
    gateway = joins(street, 1)
    gateway.grant(street.provider.card, "month")
    table = street.table(Query("month"))
    with pytest.raises(UsageError, match="nothing to draw: no window has opened"):
        load_curve(table, "png")


def test_windows_that_differ_are_refused(street: Street) -> None:
    joins(street, 1)
    other = street.joins(Gateway(("import",)))
    other.seal({"import": [1] * 60})
    other.grant(street.provider.card, "10s")
    table = street.table()
    with pytest.raises(UsageError, match="the homes' windows differ"):
        load_curve(table, "png")
