"""Where power flows: nothing comes from nowhere, and all circles of the picture have room."""

from __future__ import annotations

from itertools import combinations
from math import hypot

from hypothesis import given
from hypothesis import strategies as st

from gateway.household.flow import Flow
from gateway.household.picture import Picture

POWER = st.integers(-50_000, 50_000)


def test_a_home_without_a_meter_has_no_flow() -> None:
    assert Flow.of([]) is None
    assert Flow.of([("main", None), ("roof", -5)]) is None


def test_the_house_uses_what_the_grid_and_the_roof_give() -> None:
    flow = Flow.of([("main", -1200), ("roof", -4200), ("car", 2000), ("cellar", None)])
    assert flow is not None
    assert (flow.grid, flow.house) == (-1200, 3000)
    assert [(part.name, part.watts, part.gives) for part in flow.parts] == [
        ("roof", 4200, True),
        ("car", 2000, False),
    ]


@given(POWER, st.lists(POWER, max_size=9))
def test_a_picture_holds_its_circles_apart(grid: int, others: list[int]) -> None:
    flow = Flow.of([("main", grid), *((f"m{n}", power) for n, power in enumerate(others))])
    assert flow is not None
    if grid < 0 and not any(power < 0 for power in others):
        assert flow.house is None
    else:
        assert flow.house is not None
        assert flow.house >= max(0, grid)
    picture = Picture.of(flow)
    shown = {part.name for part in flow.parts if part.watts} & {one.label for one in picture.circles}
    assert len(shown) >= min(3, sum(power != 0 for power in others))
    for one in picture.circles:
        assert picture.radius <= one.x <= picture.width - picture.radius
        assert picture.radius <= one.y <= picture.height - picture.radius
    for one, other in combinations(picture.circles, 2):
        assert hypot(one.x - other.x, one.y - other.y) > 2 * picture.radius
    assert len(picture.lines) == len(picture.circles) - 1
