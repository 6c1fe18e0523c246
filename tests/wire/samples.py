"""Keys that sign, objects of every kind for properties, and the CDDL rule that each must keep."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from cddl_verifier import Validator
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import strategies as st

import gateway.wire
from gateway.chain.grant import KINDS, Grant
from gateway.chain.layout import ENERGY, LANES, MOST_LANES, SERIES, Factor, Layout
from gateway.chain.prices import LAST_DATE, Calendar, Dynamic, Rule, TimeOfUse
from gateway.chain.tariff import Tariff
from gateway.chain.window import Granularity
from gateway.wire import cose, es256
from gateway.wire.card import ROLES, Card
from gateway.wire.certificate import Certificate, Revocations
from gateway.wire.command import CODES, COMMAND_KINDS, Command, CommandKind, Receipt
from gateway.wire.evidence import Evidence
from gateway.wire.grant import GrantObject, Revocation, Tokens, grant_body
from gateway.wire.prices import PriceInterval, PriceSeries
from gateway.wire.request import Login, Request
from gateway.wire.stream import Chunk, Descriptor, Head, Page, SoFar
from gateway.wire.tariff import tariff_body

Object = (
    Descriptor
    | Chunk
    | Head
    | GrantObject
    | Tokens
    | Page
    | SoFar
    | Revocation
    | Card
    | Certificate
    | Revocations
    | Login
    | Request
    | Evidence
    | PriceSeries
    | Command
    | Receipt
)
RULES: dict[type[Any], str] = {
    Descriptor: "descriptor",
    Chunk: "chunk",
    Head: "head",
    GrantObject: "grant",
    Tokens: "tokens",
    Page: "page",
    SoFar: "so-far",
    Revocation: "revocation",
    Card: "card",
    Certificate: "certificate",
    Revocations: "revocations",
    Login: "login",
    Request: "request",
    Evidence: "evidence",
    PriceSeries: "price-series",
    Command: "command",
    Receipt: "receipt",
}
CDDL = (Path(gateway.wire.__file__).parent / "gw1.cddl").read_text("utf-8")


class Key:
    """An ES256 key and the names it goes by."""

    def __init__(self, number: int) -> None:
        self.private = ec.derive_private_key(number, ec.SECP256R1())
        self.public = self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.kid = cose.kid_of(self.public)

    def signature(self, message: bytes) -> bytes:
        return es256.sign(self.private, message)

    def sign(self, type_string: str, payload: bytes) -> bytes:
        """A whole COSE_Sign1."""
        message = cose.to_be_signed(type_string, self.kid, payload)
        return cose.assemble(self.kid, payload, self.signature(message))


KEY, OTHER = Key(11), Key(12)

U64 = st.integers(0, 2**64 - 1) | st.sampled_from((0, 23, 24, 255, 256, 2**32, 2**63, 2**64 - 1))
ID = st.binary(min_size=16, max_size=16)
DIGEST = st.binary(min_size=32, max_size=32)
TEXT = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), max_size=60)
FACTORS = st.just(Decimal(1)) | st.decimals(Decimal("0.000001"), 100_000, places=6).map(
    lambda factor: factor.normalize()
)
LANE_NAMES = st.lists(st.sampled_from(sorted(LANES)), min_size=1, max_size=MOST_LANES, unique=True)
_OF_A_STREAM = st.sampled_from(((*ENERGY, "power", "count"), (*SERIES, "count"))).flatmap(
    lambda names: st.lists(st.sampled_from(names), min_size=1, unique=True)
)


@st.composite
def descriptors(draw: st.DrawFn) -> Descriptor:
    layout = Layout(draw(st.integers(1, 3_600_000)), draw(st.integers(1, 2**20)))
    return Descriptor(
        stream=draw(ID),
        layout=layout,
        lanes=tuple(LANES[name] for name in draw(_OF_A_STREAM)),
        start=draw(st.integers(0, (2**64 - 1) // layout.link_units)) * layout.link_units,
        signing_key=KEY.public,
        assurance=draw(st.sampled_from(("tpm", "software"))),
        factor=Factor(draw(FACTORS), draw(FACTORS)),
    )


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    count = draw(st.integers(1, 20) | st.just(900))
    size = 8 * count
    lanes = tuple(hashlib.shake_256(draw(ID)).digest(size) for _ in range(draw(st.integers(1, MOST_LANES))))
    return Chunk(draw(ID), draw(U64), draw(U64), draw(U64), count, lanes, draw(DIGEST), draw(U64))


UNIT_MS = st.sampled_from((1, 1000, 60_000))
WHOLE = st.builds(Granularity, st.integers(1, 2**40 - 1), UNIT_MS)
CALENDAR = st.builds(
    Granularity,
    st.sampled_from(("day", "month", "month-15")),
    UNIT_MS,
    st.sampled_from(("UTC", "Europe/Berlin", "America/Argentina/ComodRivadavia")),
)


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    kind = draw(st.sampled_from(KINDS))
    granularity = draw(WHOLE if kind == "raw" else WHOLE | CALENDAR)
    energies = st.lists(st.sampled_from(("import", "export")), min_size=1, max_size=2, unique=True)
    k = draw(st.integers(1, 900))
    return Grant(
        id=draw(ID),
        stream=draw(ID),
        provider=draw(ID),
        lanes=tuple(draw(energies if kind == "bill" else LANE_NAMES)),
        granularity=granularity,
        first=granularity.start(k),
        until=draw(st.none() | st.integers(1, 100).map(lambda n: granularity.start(k + n))),
        purpose=draw(TEXT),
        kind=kind,
        issued_ms=draw(U64),
        serial=draw(U64),
        tariff=draw(DIGEST) if kind == "bill" else None,
        partner=draw(st.none() | ID) if kind == "load" else None,
        quantum=draw(st.integers(1, 2**60)) if kind == "bill" else None,
        k_min=draw(st.none() | st.integers(2, 2**32)) if kind == "load" else None,
    )


PRICE = st.integers(-(10**6), 10**6)


DATES = st.lists(st.integers(0, LAST_DATE), min_size=1, max_size=5, unique=True).map(sorted).map(tuple)


@st.composite
def rules(draw: st.DrawFn, kinds: int = 7) -> TimeOfUse:
    """Some rules, the last of them for all other times."""
    days = st.lists(st.integers(0, kinds - 1), min_size=1, max_size=kinds, unique=True).map(sorted)
    months = st.lists(st.integers(1, 12), max_size=4, unique=True).map(sorted)
    some = [
        Rule(
            draw(PRICE),
            tuple(draw(days)),
            60 * draw(st.integers(0, 11)),
            60 * draw(st.integers(12, 24)),
            tuple(draw(months)),
            draw(st.none() | st.integers(0, 20_000)),
            draw(st.none() | st.integers(20_001, LAST_DATE)),
            draw(st.just(()) | DATES),
        )
        for _ in range(draw(st.integers(0, 5)))
    ]
    return TimeOfUse((*some, Rule(draw(PRICE), tuple(range(kinds)))))


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    since, before = draw(st.lists(st.integers(0, LAST_DATE), min_size=2, max_size=2, unique=True).map(sorted))
    holidays = st.sets(st.integers(since, before - 1), max_size=5).map(sorted).map(tuple)
    return draw(
        st.sampled_from((Calendar(), Calendar(since), Calendar(None, before)))
        | st.builds(Calendar, st.just(since), st.just(before), holidays)
    )


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    step_ms = draw(st.sampled_from((60_000, 900_000, 3_600_000)))
    dynamic = st.builds(
        Dynamic,
        st.integers(0, 2**21).map(lambda n: n * step_ms),
        st.lists(PRICE, min_size=1, max_size=100).map(tuple),
    )
    lanes = draw(st.lists(st.sampled_from(("import", "export")), min_size=1, max_size=2, unique=True))
    calendar = draw(calendars())
    return Tariff(
        currency=draw(st.sampled_from(("EUR", "¥", "points"))),
        scale=draw(st.integers(0, 6)),
        zone=draw(st.sampled_from(("UTC", "Europe/Berlin", "Australia/Lord_Howe"))),
        step_ms=step_ms,
        prices={lane: draw(rules(8 if calendar.holidays else 7) | dynamic) for lane in lanes},
        calendar=calendar,
    )


@st.composite
def grant_objects(draw: st.DrawFn) -> GrantObject:
    grant = draw(grants())
    return GrantObject(grant.stream, grant_body(grant), hashlib.shake_256(draw(ID)).digest(1168))


@st.composite
def tokens(draw: st.DrawFn) -> Tokens:
    count, first, seed = draw(st.integers(1, 40)), draw(U64), draw(ID)
    raw = tuple(hashlib.shake_256(seed + bytes([i])).digest(draw(st.integers(16, 200))) for i in range(count))
    width = draw(st.integers(1, 4))
    return Tokens(
        draw(ID),
        draw(ID),
        first,
        words=draw(st.just(raw) | st.just(hashlib.shake_256(seed).digest(8 * width * count))),
        sealed=tuple(draw(st.lists(st.tuples(U64, U64), min_size=1, max_size=5))),
        edges=draw(st.none() | st.lists(U64, min_size=1, max_size=41).map(tuple)),
        weighed=draw(st.none() | st.lists(DIGEST, min_size=1, max_size=40).map(tuple)),
        commitment=draw(st.none() | DIGEST),
        so_far=draw(st.none() | U64),
    )


@st.composite
def pages(draw: st.DrawFn) -> Page:
    period = draw(st.dates().map(lambda day: f"{day:%Y-%m-%d}".rjust(10, "0")))
    count = draw(st.integers(1, 20) | st.just(1440))
    return Page(
        stream=draw(ID),
        period=draw(st.sampled_from((period, period[:7]))),
        step=draw(st.integers(1, 2**32)),
        first=draw(U64),
        count=count,
        sums=tuple(hashlib.shake_256(draw(ID)).digest(8 * count) for _ in range(draw(st.integers(1, 4)))),
        children=tuple(draw(st.lists(DIGEST, min_size=1, max_size=31))),
        previous=draw(st.none() | DIGEST),
    )


def of_so_far(page: Page) -> SoFar:
    """The same of a month so far, up to a day."""
    return SoFar(
        page.stream,
        f"{page.period[:7]}-07",
        page.step,
        page.first,
        page.count,
        page.sums,
        page.children,
        page.previous,
    )


@st.composite
def cards(draw: st.DrawFn) -> Card:
    begin = draw(st.integers(0, 2**64 - 2))
    role = draw(st.sampled_from(ROLES))
    xwing_key = hashlib.shake_256(draw(ID)).digest(1216)
    return Card(
        kid=KEY.kid,
        signing_key=KEY.public,
        xwing_key=xwing_key
        if role in ("provider", "household")
        else draw(st.sampled_from((None, xwing_key))),
        role=role,
        name=draw(TEXT.filter(lambda name: len(name.encode()) <= 80)),
        valid_from_ms=begin,
        valid_until_ms=draw(st.integers(begin + 1, 2**64 - 1)),
    )


@st.composite
def certificates(draw: st.DrawFn) -> Certificate:
    begin = draw(st.integers(0, 2**64 - 2))
    card = draw(cards().filter(lambda card: card.role != "household"))
    of_gateway = card.role == "gateway"
    streams = st.none() | st.lists(ID, min_size=1, max_size=5).map(tuple)
    return Certificate(
        card=KEY.sign("gw1/card", card.payload()),
        serial=draw(U64),
        valid_from_ms=begin,
        valid_until_ms=draw(st.integers(begin + 1, 2**64 - 1)),
        registrar=draw(TEXT.filter(lambda name: len(name.encode()) <= 80)),
        assurance=draw(st.sampled_from(("tpm", "software"))) if of_gateway else None,
        streams=draw(streams) if of_gateway else None,
    )


@st.composite
def requests(draw: st.DrawFn) -> Request:
    kind: Literal["windows", "bill"] = draw(st.sampled_from(("windows", "bill")))
    energies = st.lists(st.sampled_from(("import", "export")), min_size=1, max_size=2, unique=True)
    granularity = draw(WHOLE | CALENDAR)
    first = draw(st.none() | st.integers(0, 2**63))
    return Request(
        id=draw(ID),
        provider=draw(ID),
        stream=draw(ID),
        kind=kind,
        lanes=tuple(draw(energies if kind == "bill" else LANE_NAMES)),
        granularity=granularity.size,
        zone=granularity.zone,
        purpose=draw(TEXT),
        from_ms=first,
        until_ms=draw(st.none() | st.integers((first or 0) + 1, 2**64 - 1)),
        tariff=tariff_body(draw(tariffs())) if kind == "bill" else None,
        time_ms=draw(U64),
    )


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    listed = st.none() | st.lists(DIGEST, min_size=1, max_size=5).map(b"".join)
    keys = draw(st.sets(TEXT, min_size=1, max_size=5).map(sorted))
    int64 = st.integers(-(2**63), 2**63 - 1)
    register = st.tuples(st.sampled_from(("import", "export")), U64, U64, st.integers(1, 10**12))
    return Evidence(
        signing_key=KEY.public,
        stream=draw(ID),
        signer=draw(ID),
        grant=draw(ID),
        first_window=draw(U64),
        opened=draw(st.binary(min_size=40, max_size=200)),
        before=draw(listed),
        after=draw(listed),
        objects=tuple((key, draw(st.binary(min_size=1, max_size=50))) for key in keys),
        claims=tuple(draw(st.lists(int64, min_size=1, max_size=5))),
        tariff=draw(st.none() | st.binary(min_size=1, max_size=50)),
        registers=draw(st.none() | register.map(lambda one: (one,))),
        time_ms=draw(U64),
    )


@st.composite
def price_series(draw: st.DrawFn) -> PriceSeries:
    at, intervals = draw(st.integers(0, 250_000_000_000_000)), []
    for _ in range(draw(st.integers(1, 30))):
        length = draw(st.sampled_from((300_000, 900_000, 3_600_000, 82_800_000, 90_000_000)))
        price = draw(st.integers(-(2**63), 2**63 - 1) | PRICE)
        intervals.append(PriceInterval(at, length, price))
        at += length + draw(st.sampled_from((0, 0, 0, 900_000)))
    return PriceSeries(
        provider=KEY.kid,
        serial=draw(U64),
        name=draw(TEXT.filter(lambda name: len(name.encode()) <= 80)),
        lanes=tuple(draw(st.permutations(("import", "export")))[: draw(st.integers(1, 2))]),
        currency=draw(st.sampled_from(("EUR", "¥", "points"))),
        decimals=draw(st.integers(0, 12)),
        zone=draw(st.sampled_from(("UTC", "Europe/Berlin"))),
        intervals=tuple(intervals),
        issued_ms=draw(st.integers(0, 253_402_300_799_999)),
    )


@st.composite
def commands(draw: st.DrawFn) -> Command:
    kind: CommandKind = draw(st.sampled_from(COMMAND_KINDS))
    text = TEXT.filter(lambda one: one != "")
    first = draw(st.integers(0, 250_000_000_000_000))
    return Command(
        id=draw(ID),
        provider=KEY.kid,
        stream=draw(ID),
        serial=draw(st.integers(0, 2**63 - 1)),
        kind=kind,
        from_ms=first,
        until_ms=first + draw(st.integers(1, 366 * 86_400_000)),
        limit_w=draw(st.integers(0, 2**32 - 1)) if kind == "limit" else None,
        text=draw(text if kind == "message" else st.none() | text),
        time_ms=draw(st.integers(0, 253_402_300_799_999)),
    )


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    state = draw(st.sampled_from(tuple(CODES)))
    number = draw(st.integers(0, 3) | U64)
    return Receipt(
        command=draw(DIGEST),
        id=draw(ID),
        stream=draw(ID),
        number=number,
        state=state,
        code=draw(st.sampled_from(CODES[state])),
        text=draw(TEXT),
        time_ms=draw(U64),
        switch=draw(st.sampled_from((None, "connected", "disconnected", "ready"))),
        limit_w=draw(st.none() | st.integers(0, 2**32 - 1)),
        previous=draw(DIGEST) if number else None,
    )


STRATEGIES: dict[type[Any], st.SearchStrategy[Any]] = {
    Descriptor: descriptors(),
    Chunk: chunks(),
    Head: st.builds(
        Head, ID, U64, DIGEST, U64, U64, st.none() | st.sets(ID, max_size=5).map(sorted).map(tuple)
    ),
    GrantObject: grant_objects(),
    Tokens: tokens(),
    Page: pages(),
    SoFar: pages().map(of_so_far),
    Revocation: st.builds(Revocation, ID, ID, U64),
    Card: cards(),
    Certificate: certificates(),
    Revocations: st.builds(
        Revocations, U64, U64, st.none() | st.lists(U64, min_size=1, max_size=9).map(tuple)
    ),
    Login: st.builds(Login, ID, DIGEST, ID, U64),
    Request: requests(),
    Evidence: evidence(),
    PriceSeries: price_series(),
    Command: commands(),
    Receipt: receipts(),
}
ANY: st.SearchStrategy[Object] = st.one_of(*STRATEGIES.values())

_GRANT = Grant(
    id=bytes(16),
    stream=b"stream".ljust(16),
    provider=OTHER.kid,
    lanes=("import", "export"),
    granularity=Granularity("day", 1000, "Europe/Berlin"),
    first=1_767_222_000,
    until=1_767_308_400,
    purpose="Abrechnung für den Winter",
    kind="bill",
    issued_ms=1_767_225_600_000,
    serial=1,
    tariff=bytes(32),
    quantum=10**8,
)
_CARD = Card(KEY.kid, KEY.public, bytes(1216), "provider", "Stadtwerke", 1, 2)
TARIFF = Tariff(
    "EUR",
    4,
    "Europe/Berlin",
    900_000,
    {
        "import": TimeOfUse((Rule(3215, (0, 1, 2, 3, 4), 360, 1320), Rule(2450))),
        "export": Dynamic(1_767_222_000_000, (-812, 0, 55)),
    },
)
# One object of each kind.
EXAMPLES: dict[type[Any], Object] = {
    Descriptor: Descriptor(
        _GRANT.stream,
        Layout(),
        (LANES["import"], LANES["power"]),
        3600,
        KEY.public,
        "software",
        Factor(Decimal("0.5"), Decimal(40)),
    ),
    Chunk: Chunk(_GRANT.stream, 3, 2**63, 3600, 2, (bytes(range(16)), bytes(16)), bytes(32), 1),
    Head: Head(_GRANT.stream, 3, bytes(32), 3602, 2**40, (bytes(16), bytes(range(16))), bytes(32)),
    GrantObject: GrantObject(_GRANT.stream, grant_body(_GRANT), bytes(1168)),
    Tokens: Tokens(
        _GRANT.stream,
        _GRANT.id,
        24,
        bytes(range(16)),
        ((24, 2**63), (25, 7)),
        (2**32, 2**32 + 24, 2**32 + 48),
        (bytes(32), bytes(range(32))),
        bytes(range(32, 64)),
        26,
    ),
    Page: Page(
        _GRANT.stream, "2026-01-01", 60, 2**32, 2, (bytes(16), bytes(range(16))), (bytes(32),) * 3, bytes(32)
    ),
    SoFar: SoFar(
        _GRANT.stream, "2026-01-07", 900, 2**32, 2, (bytes(16), bytes(range(16))), (bytes(32),) * 3, bytes(32)
    ),
    Revocation: Revocation(_GRANT.stream, _GRANT.id, 2**32),
    Card: _CARD,
    Certificate: Certificate(
        KEY.sign("gw1/card", replace(_CARD, xwing_key=None, role="gateway").payload()),
        7,
        1,
        2**41,
        "Registrar",
        "tpm",
        (_GRANT.stream,),
    ),
    Revocations: Revocations(1, 2**41, (7, 2**33)),
    Login: Login(KEY.kid, bytes(range(32)), OTHER.kid, 2**40),
    Request: Request(
        _GRANT.id,
        OTHER.kid,
        _GRANT.stream,
        "bill",
        ("import",),
        "month",
        "Europe/Berlin",
        "Abrechnung",
        2**40,
        2**41,
        tariff_body(TARIFF),
        2**40,
    ),
    Evidence: Evidence(
        KEY.public,
        _GRANT.stream,
        OTHER.kid,
        _GRANT.id,
        24,
        bytes(range(48)),
        bytes(32),
        bytes(range(64)),
        (("v1/00/a", bytes(3)), ("v1/00/b", b"b")),
        (-1, 2**40),
        b"tariff",
        (("import", 2**40, 2**40 + 5, 1000), ("export", 0, 0, 1)),
        1,
    ),
    PriceSeries: PriceSeries(
        KEY.kid,
        7,
        "Day ahead",
        ("import", "export"),
        "EUR",
        4,
        "Europe/Berlin",
        (PriceInterval(1_767_222_000_000, 900_000, 3215), PriceInterval(1_767_222_900_000, 900_000, -12)),
        1_767_200_000_000,
    ),
    Command: Command(
        bytes(range(16)),
        KEY.kid,
        _GRANT.stream,
        7,
        "limit",
        1_767_222_000_000,
        1_767_225_600_000,
        4200,
        "Engpass im Netz",
        1_767_221_000_000,
    ),
    Receipt: Receipt(
        bytes(range(32)),
        bytes(range(16)),
        _GRANT.stream,
        1,
        "running",
        "limited",
        "limited to 4200 W",
        1_767_222_000_000,
        "connected",
        4200,
        bytes(32),
    ),
}


SENT = {
    *("gw1/card", "gw1/certificate", "gw1/revocations", "gw1/login", "gw1/request", "gw1/evidence"),
    *("gw1/command", "gw1/receipt"),
}
# Entries that some cards, certificates, requests, commands and receipts leave out, and the examples may not.
DEMANDED = {
    (Card, "xwing_key"),
    (Certificate, "assurance"),
    (Request, "tariff"),
    (Command, "limit_w"),
    (Receipt, "previous"),
}


# A bundle of a raw grant, whose tokens hold keys instead of words.
RAW_TOKENS = Tokens(_GRANT.stream, _GRANT.id, 24, (bytes(range(96)), bytes(range(176))), ((24, 1),))


# One grant body of each kind, and of a tariff each way to give prices.
BODIES = {
    "windows": replace(_GRANT, kind="windows", tariff=None, quantum=None),
    "bill": _GRANT,
    "load": replace(_GRANT, kind="load", tariff=None, quantum=None, partner=bytes(16), k_min=20),
    "raw": replace(
        _GRANT,
        kind="raw",
        tariff=None,
        quantum=None,
        granularity=Granularity(3600, 1000),
        first=0,
        until=7200,
    ),
}
DATED_TARIFF = replace(
    TARIFF,
    prices={
        "import": TimeOfUse(
            (
                Rule(9100, dates=(20_460, 20_470)),
                Rule(4100, (0, 1, 2, 3, 4), 600, 840, (1, 2, 12), before=20_634),
                Rule(3800, months=(6, 7), since=20_634),
                Rule(2450, tuple(range(8))),
            )
        )
    },
    calendar=Calendar(20_454, 20_819, (20_454, 20_546)),
)

_VALIDATOR = Validator(CDDL)


def conforms(rule: str, data: bytes) -> bool:
    """Whether the CBOR keeps the CDDL's rule."""
    return bool(_VALIDATOR.validate(data, root_type=rule).valid)
