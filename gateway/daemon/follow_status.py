"""Decisions that stand, as the documents of the control API."""

from __future__ import annotations

from gateway.control.documents import Consent, ConsentStatus, StrangerStatus, VerifiedStatus
from gateway.control.follows import FollowAnswer, FollowRequest, FollowStatus, PeriodStatus
from gateway.daemon.follower import Followed, NewFollow
from gateway.daemon.periods import Period
from gateway.ledger.records import Stream


def new_follow(wanted: FollowRequest) -> NewFollow:
    """The decision that is asked for."""
    return NewFollow(
        card=wanted.card,
        series=wanted.series,
        lanes=wanted.lanes,
        granularity=wanted.granularity,
        zone=wanted.zone,
        from_ms=wanted.from_ms,
        purpose=wanted.purpose,
    )


def follow_status(one: Followed) -> FollowStatus:
    """A decision, and how far it is carried out."""
    record, unit_ms = one.record, one.stream.layout.unit_ms
    return FollowStatus(
        id=record.id.hex(),
        meter=one.stream.meter,
        provider=one.card.name,
        provider_kid=record.provider.hex(),
        series=record.series,
        lanes=record.lanes,
        granularity=record.granularity,
        zone=record.zone,
        purpose=record.purpose,
        from_ms=record.first * unit_ms,
        made_ms=record.made_ms,
        ended_ms=record.ended_ms,
        grants=tuple(grant.hex() for grant in one.grants),
        periods=tuple(_period(period, unit_ms) for period in one.periods),
        fault=one.fault,
    )


def follow_answer(
    made: Followed | None, found: Consent, checked: Period | None, stream: Stream
) -> FollowAnswer:
    """What became of a decision."""
    unit_ms = stream.layout.unit_ms
    return FollowAnswer(
        follow=None if made is None else follow_status(made),
        consent=ConsentStatus.of(found),
        strangers=tuple(StrangerStatus.of(one) for one in found.strangers),
        verified=tuple(VerifiedStatus(name=card.name, registrar=by) for card, by in found.verified),
        checked_from_ms=None if checked is None else checked.first * unit_ms,
        checked_until_ms=None if checked is None else checked.end * unit_ms,
        bits_a_bill=found.bits,
    )


def _period(period: Period, unit_ms: int) -> PeriodStatus:
    return PeriodStatus(
        from_ms=period.first * unit_ms,
        until_ms=period.end * unit_ms,
        state="waits" if period.check is None else "asks",
        why=period.why,
        findings=period.findings,
        check=period.check,
    )
