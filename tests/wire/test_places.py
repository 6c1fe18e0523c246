"""An object is taken only where it belongs: a store cannot pass one signed object off as another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cbor2
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.wire import names
from gateway.wire.grant import GrantObject, Revocation, Tokens
from gateway.wire.kinds import class_at
from gateway.wire.prices import PriceSeries
from gateway.wire.signed import Stored
from gateway.wire.stream import Chunk, Descriptor, Head, Page, SoFar
from tests.wire.samples import EXAMPLES, KEY, OTHER, SENT, STRATEGIES

STORED: list[type[Stored]] = [kind for kind in EXAMPLES if issubclass(kind, Stored)]
UNIT_MS = 1000
YEAR_9999 = 253_402_300_800  # its end, in units of a second
ITEMS: st.SearchStrategy[Any] = st.one_of(*(STRATEGIES[kind] for kind in STORED))


def places(item: Any) -> list[str]:
    """The keys under which PROTOCOL.md has an object lie."""
    match item:
        case Descriptor():
            return [names.descriptor(item.stream)]
        case Chunk():
            return [names.chunk(item.stream, item.first, UNIT_MS)]
        case Head():
            return [names.head(item.stream)]
        case SoFar():
            return [names.so_far(item.stream, item.period)]
        case Page():
            return [names.page(item.stream, item.period)]
        case GrantObject():
            return [names.grant(item.stream, cbor2.loads(item.body)[1])]
        case Tokens():
            if item.so_far is not None:
                return [names.tokens_so_far(item.stream, item.grant, item.so_far)]
            return [names.bundle(item.stream, item.grant, item.first_window, fold) for fold in names.FOLDS]
        case Revocation():
            return [names.revocation(item.stream, item.grant)]
        case PriceSeries():
            return [names.price_series(item.provider, item.start_ms, item.serial)]
    raise AssertionError(item)


def signed(item: Any) -> bytes:
    return KEY.sign(item.TYPE, item.payload())


def test_what_is_sent_and_not_stored() -> None:
    assert {kind.TYPE for kind in EXAMPLES} - {kind.TYPE for kind in STORED} == SENT


@given(ITEMS, ITEMS)
def test_an_object_is_read_where_it_belongs_alone(item: Any, other: Any) -> None:
    for each in (item, other):
        assume(not isinstance(each, Chunk) or each.first < YEAR_9999)
    data = signed(item)
    for key in places(item):
        assert class_at(key).read_at(key, data, KEY.public, UNIT_MS) == item
    for key in places(other):
        if key not in places(item):
            with pytest.raises(Refused, match=f"^{key} holds the object that belongs at ") as refused:
                type(item).read_at(key, data, KEY.public, UNIT_MS)
            said = str(refused.value).removeprefix(f"{key} holds the object that belongs at ")
            assert said.removesuffix(": copied or moved") in places(item)


@pytest.mark.parametrize("kind", STORED)
def test_the_signature_counts_there_too(kind: type[Stored]) -> None:
    item = EXAMPLES[kind]
    for key in places(item):
        with pytest.raises(Refused, match=f"^{key} is signed by key {OTHER.kid.hex()}"):
            kind.read_at(key, OTHER.sign(kind.TYPE, item.payload()), KEY.public, UNIT_MS)


@pytest.mark.parametrize("fold", names.FOLDS)
def test_a_bundle_belongs_in_any_fold_and_is_named_in_its_own(fold: names.Fold) -> None:
    example = EXAMPLES[Tokens]
    assert isinstance(example, Tokens)
    bundle = replace(example, so_far=None)
    here = names.bundle(bundle.stream, bundle.grant, bundle.first_window + 1, fold)
    own = names.bundle(bundle.stream, bundle.grant, bundle.first_window, fold)
    with pytest.raises(Refused, match=f"^{here} holds the object that belongs at {own}: copied or moved$"):
        Tokens.read_at(here, signed(bundle), KEY.public, UNIT_MS)


def test_tokens_of_a_month_so_far_belong_in_no_fold_and_others_not_beside_them() -> None:
    so_far = EXAMPLES[Tokens]
    assert isinstance(so_far, Tokens)
    bundle = replace(so_far, so_far=None)
    own = names.tokens_so_far(so_far.stream, so_far.grant, 26)
    new, *folded = [names.bundle(so_far.stream, so_far.grant, 24, fold) for fold in names.FOLDS]
    for item, here, there in ((bundle, own, new), *((so_far, fold, own) for fold in (new, *folded))):
        with pytest.raises(
            Refused, match=f"^{here} holds the object that belongs at {there}: copied or moved$"
        ):
            Tokens.read_at(here, signed(item), KEY.public, UNIT_MS)


def test_a_chunk_lies_under_the_day_that_its_stream_gives_it() -> None:
    chunk = EXAMPLES[Chunk]
    assert isinstance(chunk, Chunk)
    key = names.chunk(chunk.stream, chunk.first, 60_000)
    assert Chunk.read_at(key, signed(chunk), KEY.public, 60_000) == chunk
    with pytest.raises(Refused, match=f"^{key} holds the object that belongs at .*/1970-01-01/"):
        Chunk.read_at(key, signed(chunk), KEY.public, UNIT_MS)


@given(STRATEGIES[Chunk], st.integers(YEAR_9999, 2**64 - 1))
def test_a_chunk_beyond_the_calendar_belongs_nowhere(chunk: Chunk, first: int) -> None:
    values = {name: getattr(chunk, name) for name in Chunk.__dataclass_fields__} | {"first": first}
    key = names.chunk(chunk.stream, 0, UNIT_MS)
    with pytest.raises(Refused, match=f"^{key}: unit {first} lies outside the calendar$"):
        Chunk.read_at(key, signed(Chunk(**values)), KEY.public, UNIT_MS)
