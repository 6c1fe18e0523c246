"""Raw grants open every unit of whole links, and no other."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.layout import Layout, Run
from gateway.errors import NotGranted, Refused
from gateway.provider.raw import RawUnits
from tests.provider.reading import read_raw
from tests.stream.stream import START, Home, Provider, random_readings


def check(home: Home, parts: list[RawUnits], first: int, end: int) -> None:
    """The parts are units [first, end), each as it was sealed."""
    at = first
    for part in parts:
        assert part.first == at
        for lane, values in part.lanes.items():
            assert values.tolist() == home.readings[lane][at - home.start : at - home.start + part.count]
        at += part.count
    assert at == end


@pytest.mark.slow
@settings(max_examples=25)
@given(st.data())
def test_any_runs_within_any_links(data: st.DataObject) -> None:
    link = data.draw(st.integers(1, 12))
    home = Home(layout=Layout(1000, link), start=START // 60 * link, chunk_units=data.draw(st.integers(1, 5)))
    for count in data.draw(st.lists(st.integers(1, 15), min_size=1, max_size=6)):
        home.restart()
        home.seal(random_readings(count))
    links = data.draw(st.integers(1, 3))
    with tempfile.TemporaryDirectory() as folder:
        provider = Provider.new(Path(folder) / "acme")
        lanes = data.draw(st.sampled_from((("import",), ("export", "import"))))
        grant = home.grant(provider.card, f"{links * link}s", lanes, kind="raw")
        parts = read_raw(home, provider)
    check(home, parts, grant.first, grant.window(grant.complete(home.end))[0])
    assert all(tuple(part.lanes) == lanes for part in parts)


@pytest.fixture
def home() -> Home:
    """Five links of a minute, the second under two incarnations, and a half."""
    home = Home()
    home.seal(random_readings(80))
    home.restart()
    home.seal(random_readings(250))
    return home


def test_links_open_when_they_are_over(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "1min", first=START + 60, kind="raw")
    check(home, read_raw(home, provider), START + 60, START + 300)
    home.seal(random_readings(30))
    check(home, read_raw(home, provider), START + 60, START + 360)


def test_a_link_that_two_grants_open_comes_once(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "2min", kind="raw")
    home.grant(provider.card, "1min", first=START + 180, kind="raw")
    check(home, read_raw(home, provider), START, START + 300)
    home.grant(provider.card, "1min", ("export",), kind="raw")
    assert sum(part.count for part in read_raw(home, provider)) == 600


def test_nothing_opens_without_a_grant(home: Home, provider: Provider, tmp_path: Path) -> None:
    home.grant(provider.card, "1min")
    home.grant(Provider.new(tmp_path / "other").card, "1min", kind="raw")
    with pytest.raises(NotGranted, match="no raw grant to this provider"):
        read_raw(home, provider)


def test_after_a_revocation_nothing_new_opens(home: Home, provider: Provider) -> None:
    home.revoke(home.grant(provider.card, "1min", kind="raw"))
    home.seal(random_readings(60))
    check(home, read_raw(home, provider), START, START + 300)


def test_a_token_without_the_key_of_an_incarnation_is_refused(home: Home, provider: Provider) -> None:
    home.runs = [Run(1, run.first, run.end) for run in home.runs]
    grant = home.grant(provider.card, "1min", kind="raw")
    sentence = f"the raw token of grant {grant.id.hex()} has no key for units from {START + 80} on, sealed in"
    with pytest.raises(Refused, match=f"{sentence} incarnation 2"):
        read_raw(home, provider)


def test_a_chunk_that_was_moved_is_refused(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "1min", kind="raw")
    home.objects[home.chunks[2]] = home.objects[home.chunks[3]]
    with pytest.raises(Refused, match=f"{home.chunks[2]} holds the object that belongs at {home.chunks[3]}"):
        read_raw(home, provider)
