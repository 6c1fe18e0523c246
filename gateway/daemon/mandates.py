"""Who may command what: the household's [[commands]], and the card behind each.

A provider is known by a card that the household has as a file, by one that the registrar vouches for today,
or by one that something was granted to; the last has no mandate, but its signature can be checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.config.commands import CommandsSection, Policy
from gateway.control.commands import CardStatus
from gateway.daemon.vouching import Vouching
from gateway.errors import Refused, Unavailable, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.ledger.ledger import Ledger
from gateway.wire.card import Card
from gateway.wire.command import CommandKind

_LOOKUPS = 20
_EVERY_NS = 60_000_000_000
"""So many unknown keys a minute are looked up at the registrar: anybody can sign with keys of their own."""


@dataclass(frozen=True, slots=True)
class Mandate:
    """A provider's card, the section that says what it may command (None: nothing), and why the card does
    not count today (None: it does)."""

    card: Card
    section: CommandsSection | None
    fault: str | None = None

    def policy(self, kind: CommandKind) -> Policy:
        """What the household wants done with a command of this kind."""
        return _policy(self.section, kind)


class Mandates:
    """The mandates of a household's configuration. UsageError where the file of a card cannot be used."""

    def __init__(
        self, sections: Sequence[CommandsSection], registrar: Vouching, ledger: Ledger, clock: Clock
    ) -> None:
        self._registrar = registrar
        self._ledger = ledger
        self._clock = clock
        self._files: dict[bytes, tuple[CommandsSection, Card, bytes]] = {}
        self._named: dict[str, CommandsSection] = {}
        self._lookups: list[int] = []  # ns, monotonic
        for section in sections:
            if section.card is None:
                self._named[section.provider] = section
                continue
            data = _read(section)
            card = Card.read_self_signed(data, f"[[commands]] from {section.provider}")
            if card.role != "provider":
                raise UsageError(f"[[commands]] from {section.provider}: the card is a {card.role}'s")
            if card.kid in self._files:
                raise UsageError(f"[[commands]] from {section.provider}: another section has this card")
            self._files[card.kid] = section, card, data

    async def of(self, kid: bytes) -> Mandate | None:
        """The mandate of the provider with this kid; None where nobody knows it. Unavailable where the
        registrar's word is needed and is not to be had now."""
        if kid in self._files:
            section, card, _ = self._files[kid]
            return Mandate(card, section, _expired(card, unix_ms(self._clock)))
        granted = (await self._ledger.cards()).get(kid)
        card_granted = None if granted is None else Card.read_self_signed(granted, "a card in the ledger")
        if self._named:
            if card_granted is None:
                self._count_lookup()
            try:
                found = await self._registrar.certified(kid)
            except Refused as error:  # a wrong answer of the registrar's, or this machine's clock
                raise Unavailable(f"the provider's certificate cannot be checked: {error}") from None
            if found is not None:
                return Mandate(found[0], self._named.get(found[0].name), found[1])
        if card_granted is None:
            return None
        return Mandate(card_granted, None, _expired(card_granted, unix_ms(self._clock)))

    def policy(self, kid: bytes, name: str, kind: CommandKind) -> Policy:
        """What the household wants done today with a command of the provider with this kid and, as its card
        was checked when the command came, this name."""
        section = self._files[kid][0] if kid in self._files else self._named.get(name)
        return _policy(section, kind)

    async def cards(self) -> list[CardStatus]:
        """All cards that are known."""
        found: dict[bytes, CardStatus] = {}
        for data in (await self._ledger.cards()).values():
            _add(found, data, "granted")
        for data in self._registrar.cards:
            _add(found, data, "registrar")
        for _, _, data in self._files.values():
            _add(found, data, "configured")
        return list(found.values())

    def _count_lookup(self) -> None:
        now = self._clock.monotonic()
        self._lookups = [at for at in self._lookups if at > now - _EVERY_NS]
        if len(self._lookups) >= _LOOKUPS:
            raise Unavailable(
                "too many commands by unknown keys came within a minute: the registrar is not asked about "
                "more of them"
            )
        self._lookups.append(now)


def _policy(section: CommandsSection | None, kind: CommandKind) -> Policy:
    if section is None:
        return "refuse"
    policies: dict[CommandKind, Policy] = {
        "disconnect": section.disconnect,
        "reconnect": section.reconnect,
        "limit": section.limit,
        "message": section.message,
    }
    return policies[kind]


def _read(section: CommandsSection) -> bytes:
    assert section.card is not None
    try:
        return section.card.read_bytes()
    except OSError as error:
        raise UsageError(
            f"[[commands]] from {section.provider}: the file cannot be read: {error.strerror}"
        ) from None


def _expired(card: Card, now_ms: int) -> str | None:
    if now_ms < card.valid_from_ms:
        return f"the card of {card.name!r} is not valid yet"
    return f"the card of {card.name!r} has expired" if now_ms >= card.valid_until_ms else None


def _add(found: dict[bytes, CardStatus], data: bytes, known_by: str) -> None:
    card = Card.read_self_signed(data, "a card")
    found[card.kid] = CardStatus.model_validate(
        {
            "kid": card.kid.hex(),
            "name": card.name,
            "fingerprint": card.fingerprint,
            "known_by": known_by,
            "card": data,
        }
    )
