"""A grant as it is typed into the form, carried from page to page in hidden fields until it is made.

A browser fills no chosen file in again, so the bytes of a card and of a tariff travel with the form.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date, timedelta

from aiohttp import web

from gateway.chain.grant import Kind
from gateway.chain.window import spell_ms
from gateway.config.tariff import read_tariff
from gateway.control.documents import GrantRequest
from gateway.errors import Unavailable, UsageError
from gateway.household.home import Household
from gateway.household.i18n import gettext
from gateway.household.pages.privacy.cards import known_cards
from gateway.household.pages.privacy.days import descriptor
from gateway.household.pages.privacy.pictures import midnight_ms
from gateway.household.render import FORM
from gateway.provider.identity import CARD_FILE, is_private
from gateway.wire.card import Card
from gateway.wire.tariff import tariff_body

KINDS: tuple[Kind, ...] = ("windows", "bill", "load", "raw")
LANES = {"": None, "import": ("import",), "export": ("export",)}
"""Which lanes a choice stands for; None for the meter's energy, both ways."""
MOST_FILE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Draft:
    """The fields of the form, as typed. `who` is the kid of a card that the gateway knows, or empty for the
    one in `card`; files are base64. `other` is a granularity that the list has not. `instead` is the grant
    that the new one takes the place of."""

    who: str = ""
    card: str = ""
    service: str = ""
    kind: str = "windows"
    granularity: str = "15min"
    other: str = ""
    lanes: str = ""
    tariff: str = ""
    k_min: str = ""
    meter: str = ""
    first: str = ""
    last: str = ""
    purpose: str = ""
    instead: str = ""

    @classmethod
    def read(cls, request: web.Request) -> Draft:
        """The form that was posted. UsageError for a file that is too large to be what it should be."""
        form = request[FORM]
        return cls(
            **{
                one.name: _file(form.get(one.name, ""), form.get(f"{one.name}_kept", ""))
                if one.name in ("card", "service", "tariff")
                else str(form.get(one.name, "")).strip()
                for one in fields(cls)
            }
        )

    def hidden(self) -> Iterator[tuple[str, str]]:
        """Names and values of the hidden fields that carry it."""
        for one in fields(self):
            value: str = getattr(self, one.name)
            if value:
                yield f"{one.name}_kept" if one.name in ("card", "service", "tariff") else one.name, value

    async def request(
        self,
        home: Household,
        *,
        dry_run: bool,
        confirmed: bool = False,
        fingerprints: tuple[str, ...] = (),
    ) -> GrantRequest:
        """What the gateway is asked for. UsageError or Refused, with a sentence for the form, for what cannot
        be granted so."""
        if self.kind not in KINDS:
            raise UsageError(gettext("choose what may be opened"))
        cards = [await self._card(home)]
        if self.kind == "load":
            if not self.service:
                raise UsageError(
                    gettext("a share in a sum needs two cards: choose the summing service’s too")
                )
            cards.append(_checked(self.service, gettext("the summing service’s card")))
        priced = None
        if self.kind == "bill":
            if not self.tariff:
                raise UsageError(gettext("a bill needs the tariff’s file: choose it"))
            priced = read_tariff(_text(self.tariff), gettext("the tariff’s file"))
        zone = home.zone if priced is None else priced.zone
        step = self.other or (await self._link(home) if self.kind == "raw" else self.granularity)
        return GrantRequest(
            kind=self.kind,
            cards=tuple(cards),
            granularity=step,
            zone=zone,
            lanes=LANES.get(self.lanes) if self.kind != "bill" else None,
            purpose=self.purpose,
            from_ms=None if not self.first else midnight_ms(_date(self.first, gettext("first day")), zone),
            until_ms=None if not self.last else _end_ms(_date(self.last, gettext("last day")), zone),
            meter=self.meter or None,
            tariff=None if priced is None else tariff_body(priced),
            k_min=_count(self.k_min) if self.kind == "load" and self.k_min else None,
            confirmed=confirmed,
            fingerprints=fingerprints,
            dry_run=dry_run,
        )

    async def _link(self, home: Household) -> str:
        """The least that can be opened as single values: a link of the meter's chain."""
        for one in (await home.control.status()).meters:
            if one.stream is not None and self.meter in ("", one.meter):
                layout = (await descriptor(home, bytes.fromhex(one.stream))).layout
                return spell_ms(layout.link_units * layout.unit_ms)
        raise Unavailable(gettext("no meter is read yet, so there is nothing to grant"))

    async def _card(self, home: Household) -> bytes:
        if self.who:
            for one in await known_cards(home):
                if one.kid == self.who:
                    return one.card
            raise UsageError(gettext("the gateway does not know this card any more: choose its file"))
        if not self.card:
            raise UsageError(gettext("choose who may open it: the file of a card, or a provider in the list"))
        return _checked(self.card, gettext("the card"))


def _file(given: object, kept: object) -> str:
    """A file of a form in base64: the one chosen now, or the one that the form has carried."""
    if not isinstance(given, web.FileField):
        return kept if isinstance(kept, str) else ""
    data = given.file.read(MOST_FILE_BYTES + 1)
    if len(data) > MOST_FILE_BYTES:
        raise UsageError(
            gettext("the file %(name)s is too large to be a card or a tariff") % {"name": given.filename}
        )
    return base64.b64encode(data).decode()


def _bytes(kept: str) -> bytes:
    try:
        return base64.b64decode(kept, validate=True)
    except binascii.Error:
        raise UsageError(gettext("a file was lost on its way: choose it again")) from None


def _checked(kept: str, what: str) -> bytes:
    data = _bytes(kept)
    if is_private(data):
        raise UsageError(
            gettext(
                "this is a SECRET key, which opens everything that was granted to its holder, and not a "
                "card: the card is the file %(card)s beside it. If somebody sent you this file, delete it "
                "and tell them to make a new key"
            )
            % {"card": CARD_FILE}
        )
    Card.read_self_signed(data, what)
    return data


def _text(kept: str) -> str:
    try:
        return _bytes(kept).decode()
    except UnicodeDecodeError:
        raise UsageError(gettext("the tariff’s file is not text: expected TOML")) from None


def _date(text: str, what: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(
            gettext("the %(what)s is not a date: expected one like 2026-11-28") % {"what": what}
        ) from None


def _end_ms(day: date, zone: str) -> int:
    """The end of a day, Unix ms."""
    try:
        return midnight_ms(day + timedelta(days=1), zone)
    except OverflowError:
        raise UsageError(gettext("the last day lies outside the calendar")) from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 2:
        raise UsageError(gettext("a sum is over at least 2 homes: give a whole number, or leave it empty"))
    return int(text)
