"""`gateway provider streams` and `provider grants`: what was granted to a key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from gateway.cli.output import examples, json_option, local_time, print_json, print_table
from gateway.cli.provider.examples import GRANTS, STREAMS
from gateway.cli.provider.place import THROUGH_REGISTRAR, key_option, opened_store, store_options
from gateway.cli.provider.progress import progress_bar
from gateway.cli.provider.rows import local, utc
from gateway.cli.provider.sources import (
    failure_documents,
    home_document,
    homes_of,
    homes_option,
    print_failures,
    print_verification,
)
from gateway.provider.discovery import Found, Granted, GrantedHome, find, find_listed
from gateway.provider.identity import open_identity
from gateway.provider.through import GrantedBucket, Where, in_catalogue
from gateway.store.location import Location

_OPEN = "-"


@click.command("streams", short_help="List the homes that granted you something.", epilog=examples(STREAMS))
@key_option
@store_options
@homes_option
@json_option
def streams(folder: Path, location: Location, homes_file: str | None, as_json: bool) -> int:
    """List the streams whose grants name your key: those of a list, or all of the store.

    Looking through a store takes a few requests for each stream in it. Who signs a stream that was found so
    is only what the store says: compare the signer with the household or a registrar's certificate.
    """
    return _show(folder, location, homes_file, _stream_documents if as_json else _stream_table)


@click.command("grants", short_help="List the grants to you.", epilog=examples(GRANTS))
@key_option
@store_options
@homes_option
@json_option
def grants(folder: Path, location: Location, homes_file: str | None, as_json: bool) -> int:
    """List each grant to your key: those on the streams of a list, or of the whole store."""
    return _show(folder, location, homes_file, _grant_documents if as_json else _grant_table)


def _show(folder: Path, location: Location, homes_file: str | None, show: Callable[[Found], None]) -> int:
    identity = open_identity(folder)
    homes = None if homes_file is None else homes_of(homes_file)

    async def look() -> Found:
        async with opened_store(location, folder) as bucket:
            with progress_bar("streams") as progress:
                if isinstance(bucket, GrantedBucket) and homes is None:
                    chosen = await in_catalogue(Where())(bucket, identity, None)
                    found = await find_listed(bucket, chosen.homes, identity, progress)
                    return replace(found, failures=(*chosen.failures, *found.failures))
                if homes is None:
                    return await find(bucket, identity, progress)
                return await find_listed(bucket, homes, identity, progress)

    found = asyncio.run(look())
    show(found)
    if not found.homes:
        behind = "; the catalogue may be a quarter of an hour behind the store"
        late = behind if location == THROUGH_REGISTRAR and homes is None else ""
        click.echo(f"nothing is granted to this provider, {identity.kid.hex()}{late}", err=True)
    print_verification(one.home for one in found.homes)
    if found.denied:
        click.echo(f"streams that the store does not let you read: {found.denied}", err=True)
    return print_failures(found.failures)


def _stream_table(found: Found) -> None:
    rows = []
    for one in found.homes:
        begin, until = _span(one)
        rows.append(
            [
                one.home.stream.hex(),
                one.home.signer.hex(),
                ", ".join(_lanes(one)),
                ", ".join(_granularities(one)),
                local(one.moment(begin)),
                _OPEN if until is None else local(one.moment(until)),
                _OPEN if one.head is None else f"{_start(one)} to {local(one.moment(one.head.next_unit))}",
            ]
        )
    print_table(["stream", "signer", "lanes", "granularity", "from", "until", "coverage"], rows)


def _start(one: GrantedHome) -> str:
    return local(one.moment(one.descriptor.start))


def _stream_documents(found: Found) -> None:
    documents = []
    for one in found.homes:
        begin, until = _span(one)
        documents.append(
            {
                **home_document(one.home),
                "assurance": one.descriptor.assurance,
                "unit_ms": one.descriptor.layout.unit_ms,
                "lanes": _lanes(one),
                "granularities": _granularities(one),
                "from": utc(one.moment(begin)),
                "until": None if until is None else utc(one.moment(until)),
                "coverage": None
                if one.head is None
                else {
                    "from": utc(one.moment(one.descriptor.start)),
                    "until": utc(one.moment(one.head.next_unit)),
                },
            }
        )
    print_json({"streams": documents, "failures": failure_documents(found.failures), "denied": found.denied})


def _grant_table(found: Found) -> None:
    rows = [
        [
            one.home.stream.hex(),
            held.grant.id.hex(),
            held.grant.opens,
            local(one.moment(held.grant.first)),
            _OPEN if held.limit is None else local(one.moment(held.limit)) + ", revoked" * held.revoked,
            held.grant.purpose,
            local_time(held.grant.issued_ms),
        ]
        for one in found.homes
        for held in one.grants
    ]
    print_table(["stream", "grant", "opens", "from", "until", "purpose", "issued"], rows)


def _grant_documents(found: Found) -> None:
    documents = [_grant_document(one, held) for one in found.homes for held in one.grants]
    print_json({"grants": documents, "failures": failure_documents(found.failures), "denied": found.denied})


def _grant_document(one: GrantedHome, held: Granted) -> dict[str, object]:
    grant = held.grant
    calendar = isinstance(grant.granularity.size, str)
    return {
        **home_document(one.home),
        "grant": grant.id.hex(),
        "kind": grant.kind,
        "lanes": list(grant.lanes),
        "granularity": str(grant.granularity),
        "zone": grant.granularity.zone if calendar else None,
        "from": utc(one.moment(grant.first)),
        "until": None if held.limit is None else utc(one.moment(held.limit)),
        "revoked": held.revoked,
        "purpose": grant.purpose,
        "issued_ms": grant.issued_ms,
    }


def _lanes(one: GrantedHome) -> list[str]:
    granted = {lane for held in one.grants for lane in held.grant.lanes}
    return [lane.name for lane in one.descriptor.lanes if lane.name in granted]


def _granularities(one: GrantedHome) -> list[str]:
    """Those of sums as they are asked for, those of other grants after their kind: "15min", "bill month"."""
    names = (
        f"{held.grant.granularity}"
        if held.grant.kind == "windows"
        else f"{held.grant.kind} {held.grant.granularity}"
        for held in one.grants
    )
    return list(dict.fromkeys(names))


def _span(one: GrantedHome) -> tuple[int, int | None]:
    """The first unit that a grant opens, and the one from which on none does: None where one has no end."""
    limits = [held.limit for held in one.grants if held.limit is not None]
    return (
        min(held.grant.first for held in one.grants),
        max(limits) if len(limits) == len(one.grants) else None,
    )
