"""A bundle says of its windows what its grant's tokens need, or is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.chain.grant import Grant, Kind
from gateway.chain.layout import Layout
from gateway.chain.window import Granularity
from gateway.errors import Refused
from gateway.stream.tokens import check_bundle
from gateway.wire import names
from gateway.wire.grant import Tokens
from tests.stream.stream import START, Home

FIRST = START // 3600
HOME = Home(layout=Layout(3_600_000, 24), start=FIRST // 24 * 24, chunk_units=24)
ONE = ((0, 7),)


def grant(kind: Kind, size: object, lanes: tuple[str, ...] = ("import",)) -> Grant:
    granularity = Granularity(size, 3_600_000)  # type: ignore[arg-type]
    bill = kind == "bill"
    return Grant(
        id=bytes(16),
        stream=HOME.id,
        provider=bytes(16),
        lanes=lanes,
        granularity=granularity,
        first=FIRST // 24 * 24,
        until=None,
        purpose="",
        kind=kind,
        issued_ms=0,
        serial=1,
        tariff=bytes(32) if bill else None,
        quantum=1 if bill else None,
    )


HOURS, DAYS = grant("windows", 1, ("import", "export")), grant("windows", "day")
BILLS, RAW = grant("bill", 24), grant("raw", 24)
LOADS = grant("load", 1, ("import", "export"))
EDGES = (DAYS.first, DAYS.first + 24, DAYS.first + 48)
OF_HOURS = Tokens(HOME.id, bytes(16), 0, bytes(48), ONE)
OF_DAYS = Tokens(HOME.id, bytes(16), 0, bytes(16), ONE, EDGES)
OF_BILLS = Tokens(HOME.id, bytes(16), 0, bytes(16), ONE, None, (bytes(32), bytes(32)))
OF_RAW = Tokens(HOME.id, bytes(16), 0, (bytes(16 + 48), bytes(16 + 96)), ONE)


def check(of: Grant, bundle: Tokens) -> Tokens:
    key = names.bundle(bundle.stream, bundle.grant, bundle.first_window)
    return check_bundle(HOME.descriptor, of, key, HOME.signer.sign(bundle))


@pytest.mark.parametrize(
    ("of", "bundle"),
    [
        *((HOURS, OF_HOURS), (DAYS, OF_DAYS), (BILLS, OF_BILLS), (RAW, OF_RAW)),
        *((HOURS, replace(OF_HOURS, commitment=bytes(32))), (BILLS, replace(OF_BILLS, commitment=bytes(32)))),
    ],
)
def test_a_bundle_of_each_kind(of: Grant, bundle: Tokens) -> None:
    assert check(of, bundle) == bundle


@pytest.mark.parametrize(
    ("of", "bundle", "says"),
    [
        (HOURS, replace(OF_HOURS, words=bytes(40)), "tokens of another length than its grant's 2 lanes give"),
        (RAW, replace(OF_RAW, words=(bytes(17),)), "tokens of another length than its grant's 1 lanes give"),
        (RAW, replace(OF_RAW, words=bytes(16)), "tokens of another kind of grant"),
        (HOURS, OF_RAW, "tokens of another kind of grant"),
        (HOURS, replace(OF_HOURS, edges=EDGES), "tokens of another kind of grant"),
        (DAYS, replace(OF_DAYS, edges=None), "tokens of another kind of grant"),
        (BILLS, replace(OF_BILLS, weighed=None), "tokens of another kind of grant"),
        (DAYS, replace(OF_DAYS, weighed=(bytes(32), bytes(32))), "tokens of another kind of grant"),
        (DAYS, replace(OF_DAYS, edges=EDGES[:2]), "2 edges for 2 windows, or edges that do not rise"),
        (DAYS, replace(OF_DAYS, edges=EDGES[:2] + EDGES[1:2]), "3 edges for 2 windows, or edges that do not"),
        (BILLS, replace(OF_BILLS, weighed=(bytes(32),)), "1 digests of steps for 2 windows"),
        (
            RAW,
            replace(OF_RAW, commitment=bytes(32)),
            "commits to what tokens of a raw grant hold",
        ),
        (
            LOADS,
            replace(OF_HOURS, commitment=bytes(32)),
            "commits to what tokens of a load grant hold",
        ),
        (HOURS, replace(OF_HOURS, sealed=((1, 7),)), "does not say in which incarnations"),
        (HOURS, replace(OF_HOURS, sealed=((0, 7), (0, 8))), "does not say in which incarnations"),
        (HOURS, replace(OF_HOURS, sealed=((0, 7), (3, 8))), "does not say in which incarnations"),
    ],
)
def test_a_bundle_that_does_not_fit_its_grant(of: Grant, bundle: Tokens, says: str) -> None:
    with pytest.raises(Refused, match=f"^{names.bundle(HOME.id, bytes(16), 0)} .*{says}"):
        check(of, bundle)


def test_a_bundle_that_is_gone() -> None:
    with pytest.raises(Refused, match="is listed by the store but is not there"):
        check_bundle(HOME.descriptor, HOURS, names.bundle(HOME.id, bytes(16), 0), None)
