"""Evidence of what a grant opened, made by the provider: it reveals the claimed windows and no other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from gateway.chain.commitment import bundle_commitment, commitments, openings
from gateway.chain.keys import KeyChain
from gateway.chain.seal import U64
from gateway.chain.tariff import Tariff
from gateway.chain.token import masks
from gateway.errors import NotGranted, Refused, Unavailable, UsageError
from gateway.provider.bill import bill_grants
from gateway.provider.evidence import Proven, open_evidence, prove, replay
from gateway.provider.grants import OwnGrant, own_grants, short
from gateway.provider.identity import Identity
from gateway.store.bucket import Bucket
from gateway.store.memory import NotedBucket
from gateway.stream.bundles import Part
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen
from gateway.stream.times import spell
from gateway.stream.verify import SealedRuns
from gateway.wire import cose, es256, names
from gateway.wire.evidence import MOST_WINDOWS, Evidence
from gateway.wire.tariff import tariff_body


@dataclass(frozen=True, slots=True)
class Claim:
    """What a provider wants to prove of a stream: the sums of the windows that lie wholly between two moments
    (Unix ms), or with a `tariff` their bills. `grant` is the one to prove it by, where there are several;
    `registers` are the meter's at both ends, as in `Evidence`."""

    from_ms: int
    until_ms: int
    tariff: Tariff | None = None
    grant: bytes | None = None
    registers: tuple[tuple[str, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Range:
    """Windows `first` to `end` - 1 of a grant."""

    held: OwnGrant
    first: int
    end: int


async def make_evidence(
    bucket: Bucket,
    stream: bytes,
    signer: bytes,
    identity: Identity,
    claim: Claim,
    now_ms: int,
    max_age_ms: int,
    seen: Seen | None = None,
) -> tuple[bytes, Proven]:
    """The signed evidence of the claim, and what it proves. The stream and its head's age are as for
    `StreamReader`.

    NotGranted where no one grant opens all of it, Unavailable where tokens are not in the store yet,
    UsageError for registers that do not agree with the sums, and Refused for an invalid object, and for a
    bundle without a commitment or with one to something else than its tokens hold.
    """
    noted = NotedBucket(bucket)
    reader = await StreamReader.open(noted, stream, signer, seen, guesses=False)
    await reader.refresh(now_ms, max_age_ms)
    chosen = await _choose(reader, identity, claim)
    revealed = await _reveal(chosen)
    draft = Evidence(
        signing_key=es256.spki(identity.signing_key.public_key()),
        stream=stream,
        signer=signer,
        grant=chosen.held.grant.id,
        first_window=chosen.first,
        opened=revealed.opened,
        before=revealed.before,
        after=revealed.after,
        objects=(),
        claims=(),
        tariff=None if claim.tariff is None else tariff_body(claim.tariff),
        registers=claim.registers or None,
        time_ms=now_ms,
    )
    found = await open_evidence(reader, draft, SealedRuns([]))  # so that all that it needs is noted
    for register in found.registers:
        if not register.agrees:
            raise UsageError(
                f"the register of {register.lane} rose by {_kwh(register.difference)} kWh, and the gateway "
                f"sealed {_kwh(register.proven)} kWh between: correct the readings, or leave them out"
            )
    needed = {key: data for key, data in noted.read.items() if not _later(key, chosen.end)}
    draft = replace(draft, objects=tuple(sorted(needed.items())), claims=found.claims)
    read = (await replay(draft))[1]
    evidence = replace(draft, objects=tuple(sorted(read.items())))
    return _signed(evidence, identity), await prove(evidence)


def _kwh(mwh: Decimal | int) -> str:
    return f"{Decimal(mwh).scaleb(-6):f}"


def _later(key: str, end: int) -> bool:
    """Whether a bundle begins with window `end` or a later one."""
    return names.fold_of(key) is not None and names.number_in(key) >= end


async def _choose(reader: StreamReader, identity: Identity, claim: Claim) -> _Range:
    """The grant that opens all of the claim in the fewest windows, and of these with the most lanes."""
    if claim.tariff is None:
        held = await own_grants(reader, identity)
    else:
        held = await bill_grants(reader, identity, claim.tariff)
    found: list[_Range] = []
    reasons: list[str] = []
    for one in held:
        if claim.grant in (None, one.grant.id):
            await one.bundles.settle()
            fits = _range(reader, one, claim)
            if isinstance(fits, str):
                reasons.append(fits)
            else:
                found.append(fits)
    if found:
        return min(found, key=lambda one: (one.end - one.first, -len(one.held.grant.lanes)))
    kind = "sums" if claim.tariff is None else "bills"
    raise NotGranted(
        f"no one grant of {kind} opens all of the requested time: "
        + ("; ".join(reasons) or "there is none to this provider, or none of this id")
    )


def _range(reader: StreamReader, held: OwnGrant, claim: Claim) -> _Range | str:
    """The windows of a grant that are claimed, or why it does not open all of them."""
    unit_ms, windows = reader.descriptor.layout.unit_ms, held.grant.granularity
    first = windows.align_up(-(-claim.from_ms // unit_ms))
    until = windows.start(windows.index(claim.until_ms // unit_ms))
    if first >= until:
        return f"{held}; no whole window of it lies in the requested time"
    if first < held.grant.first:
        return f"{held}; it begins later"
    if held.limit is not None and until > held.limit:
        return f"{held}; it ends before"
    if reader.head is None or until > reader.head.next_unit:
        upto = "nothing" if reader.head is None else f"nothing after {spell(reader.head.next_unit, unit_ms)}"
        return f"{held}; {upto} is sealed yet"
    x, y = held.windows.number(held.edge_from(first)), held.complete(until)
    if x >= y:  # by the household's calendar, which may be another
        return f"{held}; no whole window of it lies in the requested time"
    if y - x > MOST_WINDOWS:
        raise UsageError(
            f"grant {short(held.grant.id)} has {y - x} windows in the requested time, and evidence is of "
            f"{MOST_WINDOWS} at most: claim a shorter time"
        )
    return _Range(held, x, y)


class _Revealed(NamedTuple):
    """Entries 6 to 8 of evidence."""

    opened: bytes
    before: bytes | None
    after: bytes | None


async def _reveal(chosen: _Range) -> _Revealed:
    """The openings of the claimed windows, and the commitments of the others in their bundles."""
    held, first, end = chosen.held, chosen.first, chosen.end
    chain, at = KeyChain(held.k_0), first
    opened: list[U64] = []
    others: dict[int, bytes] = {}
    async with aclosing(held.bundles.read(first, end)) as parts:
        async for part in parts:
            begin, rows = part.bundle.first_window, _rows(held, chain, part)
            opened.append(rows[part.first - begin : part.end - begin])
            each = commitments(rows)
            others |= {begin + i: each[32 * i : 32 * i + 32] for i in range(len(rows))}
            if part.bundle.commitment is None:
                raise Refused(
                    f"{part.key} has no commitment to what its tokens hold, so none of it can be proven: an "
                    "older gateway made it"
                )
            if bundle_commitment(each) != part.bundle.commitment:
                raise Refused(
                    f"{part.key} commits to something else than its tokens hold, so none of it can be proven"
                )
            at = part.end
    if at < end:
        raise Unavailable(f"the token of window {at} of grant {short(held.grant.id)} is not in the store yet")
    return _Revealed(
        np.concatenate(opened).astype("<u8").tobytes(),
        _joined(others, [j for j in sorted(others) if j < first]),
        _joined(others, [j for j in sorted(others) if j >= end]),
    )


def _rows(held: OwnGrant, chain: KeyChain, part: Part) -> U64:
    """The opening and P of each window of a part's bundle."""
    bundle, width = part.bundle, held.grant.words
    begin, end, cuts = bundle.first_window, bundle.end_window(width), bundle.cuts
    words = bundle.table(width) - masks(chain, part.sealed, begin, end, width, cuts)
    return np.concatenate([openings(chain, part.sealed, begin, end, cuts), words], axis=1)


def _joined(commitment: dict[int, bytes], windows: Sequence[int]) -> bytes | None:
    return b"".join(commitment[j] for j in windows) or None


def _signed(evidence: Evidence, identity: Identity) -> bytes:
    payload = evidence.payload()
    message = cose.to_be_signed(evidence.TYPE, identity.kid, payload)
    return cose.assemble(identity.kid, payload, es256.sign(identity.signing_key, message))
