"""The granter: makes grants, after the consent check, and revokes them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace

from gateway.chain.consent.bills import bits
from gateway.chain.consent.check import check
from gateway.chain.consent.held import Held
from gateway.chain.grant import ID_BYTES, Grant, seal_k0
from gateway.chain.keys import KEY_BYTES
from gateway.chain.layout import ENERGY
from gateway.chain.tariff import Tariff, cent
from gateway.chain.window import Granularity
from gateway.control.documents import Consent, NewGrant, Stranger
from gateway.daemon.doubts import Doubts
from gateway.daemon.grants import AnyGrant, GrantBook, ServedGrant
from gateway.daemon.issuer import Issuer
from gateway.errors import LedgerError, TrustError, Unavailable, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, GrantRecord, Outgoing, Stream
from gateway.trust.keyring import KeyRing
from gateway.trust.root import Root
from gateway.trust.signing import sign
from gateway.wire import names
from gateway.wire.card import Card
from gateway.wire.cose import digest
from gateway.wire.grant import GrantObject, Revocation, grant_body
from gateway.wire.tariff import tariff_body

Record = Callable[[Sequence[tuple[GrantRecord, Outgoing, AuditEntry]]], Awaitable[None]]
"""Makes new grants durable, all or none."""

_log = logging.getLogger(__name__)
_FAR_MS = 253_370_764_800_000  # 9999-01-01: later times have no date to show to a person


class Granter:
    """The granter of one gateway's streams."""

    def __init__(
        self,
        ledger: Ledger,
        root: Root,
        clock: Clock,
        rings: Mapping[bytes, KeyRing],
        grants: GrantBook,
        issuer: Issuer,
        doubts: Doubts,
        verified_by: Callable[[Card], Awaitable[str | None]],
    ) -> None:
        """`verified_by` names the registrar that vouches for a card, if one does."""
        self._verified_by = verified_by
        self._ledger = ledger
        self._grants = grants
        self._root = root
        self._clock = clock
        self._rings = rings
        self._issuer = issuer
        self._doubts = doubts
        self._lock = asyncio.Lock()  # each serial is used once, each revocation made once

    async def new(
        self,
        stream: Stream,
        cards: list[Card],
        wanted: NewGrant,
        *,
        confirmed: bool | Callable[[Consent], bool],
        fingerprints: Collection[str] = (),
        dry_run: bool = False,
        own: bool = False,
        record: Record | None = None,
    ) -> tuple[list[ServedGrant], Consent]:
        """Make a grant to the card's holder; windows that have already closed get their tokens at once.

        With `own` the grant is the household's own: of sums, to a household's card, and without more
        questions, since nobody else learns anything by it.

        A load takes two cards, the load monitoring centre's and the summing service's, and makes a pair of
        grants. If the consent check finds something that the grants held before do not reveal already, and
        the household has not `confirmed`, nothing is made and no grant is returned; nor in a `dry_run`, or
        if nothing was granted before to one of the cards, no registrar vouches for it, and its fingerprint is
        not among those that the household has compared. UsageError for what can never be granted.
        """
        if not self._clock.trusted():
            raise Unavailable(
                "the clock is not set yet, so a grant's beginning is not known: try again when `gateway "
                "status` shows that the clock is right"
            )
        now_ms = unix_ms(self._clock)
        for card in cards:
            _check_card(card, now_ms, own)
        if own and wanted.kind != "windows":
            raise UsageError(f"a household's own grant opens sums: a {wanted.kind} is granted to others")
        if not wanted.purpose.strip():
            raise UsageError("purpose: it is empty; say what the data is for, such as 'dynamic tariff'")
        if len(cards) != (2 if wanted.kind == "load" else 1):
            raise UsageError(
                "a load is granted to two parties, the load monitoring centre and the summing service; "
                "every other grant to one provider"
            )
        if len({card.kid for card in cards}) < len(cards):
            raise UsageError(
                "the load monitoring centre and the summing service must be two parties: one that holds both "
                "halves can open every window of this home"
            )
        # Not under the lock: a registrar that does not answer must not hold up a revocation.
        verified = {} if own else await self._verified(cards, fingerprints)
        async with self._lock:
            grants = await self._decide(stream, cards, wanted, now_ms)
            held = [
                Held(grant, wanted.tariff, None, card.name, stream.meter)
                for card, grant in zip(cards, grants, strict=True)
            ]
            for one in held:
                await asyncio.to_thread(_check_bill, one)
            found = replace(Consent([], []) if own else await self.consent(stream, held), offered=held)
            if not own:
                found = await self._introduced(found, cards, verified, fingerprints)
            agreed = confirmed(found) if callable(confirmed) else found.silent or confirmed
            if dry_run or found.strangers or not agreed:
                return [], found
            new = [
                await self._sealed(card, one.grant, wanted.tariff, own)
                for card, one in zip(cards, held, strict=True)
            ]
            await (record or self._ledger.add_grants)(new)
        made = [
            ServedGrant(stream, one.grant, one.tariff, kept)
            for one, (kept, _, _) in zip(held, new, strict=True)
        ]
        try:
            last = (await self._ledger.position(stream)).last
            if last is not None:
                await self._issuer.issue(stream, last.end)
            now = {one.grant.id: one for one in await self._grants.of(stream)}
            made = [now[one.grant.id] for one in made]
        except (LedgerError, TrustError) as error:
            ids = ", ".join(one.grant.id.hex() for one in made)
            _log.warning("grant %s is made, but its tokens come with the next chunk: %s", ids, error)
        return made, found

    async def consent(self, stream: Stream, new: list[Held]) -> Consent:
        """What `new` adds to what each provider could derive from all its grants, and to what all providers
        could derive together; all that they could, if nothing is new. The household's own grants are in
        nobody else's hands, and do not count."""
        held, uncounted = [], []
        for one in await self._grants.all(stream):
            record = one.record
            if record.own:
                continue
            if isinstance(one, ServedGrant) and one.uncounted is None:
                held.append(
                    Held(one.grant, one.tariff, record.revoked_from, record.provider_name, stream.meter)
                )
            else:
                what = f"grant {record.id.hex()} of {record.provider_name}"
                uncounted.append(f"what {what} adds to this is unknown: {one.uncounted}")
        found = await asyncio.to_thread(_consent, held, new)
        return replace(found, uncounted=uncounted)

    async def introduce(self, card: Card, fingerprints: Collection[str]) -> Consent:
        """What the household has to know of a card before it decides to grant something to its holder:
        whether it is a stranger's, or verified. UsageError for a card to which nothing can be granted."""
        _check_card(card, unix_ms(self._clock), own=False)
        verified = await self._verified([card], fingerprints)
        return await self._introduced(Consent([], []), [card], verified, fingerprints)

    async def _verified(self, cards: list[Card], fingerprints: Collection[str]) -> dict[bytes, str]:
        """Which registrar vouches for each card, by its kid; UsageError for another card's fingerprint."""
        _check_fingerprints(cards, fingerprints)
        asked = [(card.kid, await self._verified_by(card)) for card in cards]
        return {kid: registrar for kid, registrar in asked if registrar is not None}

    async def _introduced(
        self,
        found: Consent,
        cards: list[Card],
        verified: Mapping[bytes, str],
        fingerprints: Collection[str],
    ) -> Consent:
        """The findings, with the cards that no grant was made to before."""
        new_cards = await self._new_cards(cards)
        strangers = [one for one in new_cards if one.card.kid not in verified]
        return replace(
            found,
            strangers=[one for one in strangers if one.card.fingerprint not in fingerprints],
            verified=[(one.card, verified[one.card.kid]) for one in new_cards if one.card.kid in verified],
        )

    async def _new_cards(self, cards: list[Card]) -> list[Stranger]:
        """The cards that no grant was made to before. The household's own grants vouch for no card: the same
        keys may be on one of another role."""
        streams = await self._ledger.streams()
        made = [one for stream in streams for one in await self._grants.of(stream) if not one.record.own]
        kids = {one.grant.provider for one in made}
        names_of = {one.record.provider_name for one in made}
        return [Stranger(card, card.name in names_of) for card in cards if card.kid not in kids]

    async def _sealed(
        self, card: Card, grant: Grant, tariff: Tariff | None, own: bool
    ) -> tuple[GrantRecord, Outgoing, AuditEntry]:
        """The ledger's record of a grant, with its first key; the signed object; the audit entry."""
        k_0 = await self._root.random(KEY_BYTES)
        body = grant_body(grant)
        assert card.xwing_key is not None  # of a provider's card, or a household's
        data = await sign(self._root, GrantObject(grant.stream, body, seal_k0(k_0, card.xwing_key, body)))
        key = self._rings[grant.stream].vault.seal(k_0, b"grant/" + grant.id)
        priced = None if tariff is None else tariff_body(tariff)
        record = GrantRecord(grant.id, grant.stream, body, card.name, 0, key, tariff=priced, own=own)
        whom = f"the household itself ({card.name})" if own else card.name
        audit = AuditEntry(
            grant.issued_ms,
            "grant",
            f"{grant.opens} (grant {grant.id.hex()}) to {whom}, for: {grant.purpose}",
        )
        return record, Outgoing("grant", names.grant(grant.stream, grant.id), data), audit

    async def _decide(self, stream: Stream, cards: list[Card], wanted: NewGrant, now_ms: int) -> list[Grant]:
        granularity = Granularity.parse(wanted.granularity, stream.layout.unit_ms, wanted.zone)
        lanes = _lanes(stream, wanted)
        first, until = _times(stream, wanted, granularity, now_ms)
        serial = await self._next_serial()
        grants: list[Grant] = []
        for card in cards:
            grant = Grant(
                id=await self._root.random(ID_BYTES),
                stream=stream.id,
                provider=card.kid,
                lanes=lanes,
                granularity=granularity,
                first=first,
                until=until,
                purpose=wanted.purpose,
                kind=wanted.kind,
                issued_ms=now_ms,
                serial=serial + len(grants),
                tariff=None if wanted.tariff is None else digest(tariff_body(wanted.tariff)),
                partner=grants[0].id if grants else None,
                quantum=None if wanted.tariff is None else cent(wanted.tariff.scale),
                k_min=wanted.k_min,
            )
            grant.check(stream.layout)
            grants.append(grant)
        return grants

    async def _next_serial(self) -> int:
        """One more than the largest so far; grants that cannot be read count by their number."""
        made = [one for stream in await self._ledger.streams() for one in await self._grants.all(stream)]
        return 1 + max([len(made), *(one.grant.serial for one in made if isinstance(one, ServedGrant))])

    async def revoke(self, grant_id: bytes) -> AnyGrant:
        """Revoke a grant: from the next unit on it opens nothing, or from the end of the units in doubt, of
        which tokens may be out. A second revocation changes nothing. UsageError where there is no grant with
        this id."""
        async with self._lock:
            served = await self._find(grant_id)
            stream, record = served.stream, served.record
            if record.revoked_from is None:
                doubt = await self._doubts.of(stream)
                next_unit = (await self._ledger.position(stream)).next_unit
                from_unit = max(next_unit, (doubt and doubt.end) or next_unit)
                data = await sign(self._root, Revocation(stream.id, grant_id, from_unit))
                what = f"grant {grant_id.hex()} of {record.provider_name}"
                await self._ledger.revoke_grant(
                    record,
                    from_unit,
                    Outgoing("revocation", names.revocation(stream.id, grant_id), data),
                    AuditEntry(unix_ms(self._clock), "revocation", what),
                )
            return await self._find(grant_id)

    async def _find(self, grant_id: bytes) -> AnyGrant:
        found = await self._grants.find(grant_id)
        if found is None:
            raise UsageError(f"there is no grant {grant_id.hex()}; `gateway grant list` shows all grants")
        return found


def _check_card(card: Card, now_ms: int, own: bool) -> None:
    if own and card.role != "household":
        raise UsageError(
            f"the card of {card.name!r} has the role {card.role}; a household's own grant needs a household's"
            " card, which it makes for itself"
        )
    if not own and card.role != "provider":
        raise UsageError(f"the card of {card.name!r} has the role {card.role}; a grant needs a provider's")
    if not card.valid_from_ms <= now_ms < card.valid_until_ms:
        raise UsageError(f"the card of {card.name!r} is not valid today; ask the provider for a new one")


def _check_fingerprints(cards: list[Card], fingerprints: Collection[str]) -> None:
    known = {card.fingerprint: card.name for card in cards}
    for fingerprint in fingerprints:
        if fingerprint not in known:
            of = " and ".join(f"the card of {name!r} has {theirs}" for theirs, name in known.items())
            raise UsageError(
                f"the fingerprint {fingerprint} is not that of this card: {of}. If yours is what the "
                "provider told you, the card is not the provider's"
            )


def _lanes(stream: Stream, wanted: NewGrant) -> tuple[str, ...]:
    lanes = wanted.lanes
    if lanes is None:
        energy = ENERGY if wanted.tariff is None else wanted.tariff.lanes
        lanes = tuple(lane for lane in stream.lanes if lane in energy)
        if not lanes and wanted.tariff is None:  # of a series
            lanes = stream.lanes
    missing = [lane for lane in lanes if lane not in stream.lanes]
    if missing:
        raise UsageError(
            f"the meter {stream.meter} has no lane {', '.join(missing)}: use {', '.join(stream.lanes)}"
        )
    return lanes


def _times(stream: Stream, wanted: NewGrant, granularity: Granularity, now_ms: int) -> tuple[int, int | None]:
    """The unit at which the first window begins, and that at which the grant ends. Windows that lie partly
    outside the requested times stay closed, as do bills for which the tariff has no prices."""
    unit_ms, size = stream.layout.unit_ms, granularity.size
    if wanted.kind == "raw" and isinstance(size, int) and size % stream.layout.link_units == 0:
        for name, ms in (("from", wanted.from_ms), ("until", wanted.until_ms)):
            if ms is not None and ms % (size * unit_ms):
                raise UsageError(
                    f"{name}: a raw grant opens whole links; expected a time at which a window of "
                    f"{granularity} begins, counted from midnight UTC"
                )
    first = -(-(now_ms if wanted.from_ms is None else wanted.from_ms) // unit_ms)
    first = granularity.align_up(max(first, stream.start))
    priced_ms = None if wanted.tariff is None else wanted.tariff.end_ms(wanted.lanes or stream.lanes)
    ends = [end for end in (wanted.until_ms, priced_ms) if end is not None]
    until = granularity.start(granularity.index(min(ends) // unit_ms)) if ends else None
    checked = wanted.tariff and wanted.tariff.checked_end(wanted.lanes or stream.lanes, granularity, first)
    if checked:
        until = checked if until is None else min(until, checked)
    if max(first, until or 0) * unit_ms >= _FAR_MS:
        raise UsageError("the grant's windows reach beyond the year 9998: use earlier times")
    if until is not None and until <= first and priced_ms == min(ends):
        raise UsageError(
            f"the tariff's prices end before the first whole {granularity} of this grant: use a tariff with "
            "later prices, or an earlier --from"
        )
    return first, until


def _check_bill(one: Held) -> None:
    """UsageError for a bill that could not be made, or would reveal single windows of its period."""
    grant = one.grant
    if one.tariff is not None:
        for _ in one.tariff.periods(grant.lanes, grant.granularity, grant.first, grant.until):
            pass


def _consent(held: list[Held], new: list[Held]) -> Consent:
    found = check(held, new)
    said = [bits(one) for one in new if one.tariff is not None]
    return Consent(found.provider, found.pooled, bits=said[0] if said else None)
