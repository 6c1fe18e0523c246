"""The vectors of bills, loads and raw grants: what their tokens hold, and what that opens."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vectors.bucket import body_of, payload_of, shown
from tests.vectors.calendars import ZONES, midnight_ms, since_ms
from tests.vectors.plain import MASK, be64, h, mac
from tests.vectors.scheme import (
    Cases,
    Chain,
    begin,
    described,
    draw,
    grant_key,
    hex64,
    k_inc,
    link_key,
    seal_token,
    token_key,
)

_DAY_MS = 86_400_000
_ALL_WEEK = [0, 1, 2, 3, 4, 5, 6]


def _signed(value: int) -> int:
    value &= MASK
    return value - 2**64 if value >> 63 else value


def _grant(chain: Chain, about: str, **changes: Any) -> tuple[dict[str, Any], bytes]:
    """A grant body's values, and its K_0."""
    return body_of(chain.stream, draw("provider", 16), id=draw(f"{about} id", 16), **changes), draw(about)


# Bills

PEAK = {
    "currency": "EUR",
    "scale": 4,
    "zone": "Europe/Berlin",
    "step_ms": 3_600_000,
    "import": [[3215, [0, 1, 2, 3, 4], 360, 1320], [2450, _ALL_WEEK, 0, 1440]],
    "export": [[-812, _ALL_WEEK, 0, 1440]],
}
HOURLY_LIST = {
    "currency": "SEK",
    "scale": 2,
    "zone": "Europe/Berlin",
    "step_ms": 900_000,
    "import": [1_767_222_000_000, [31, 31, 30, -2, -2, -150, 0, 0, 7, 2**33, 1, 1, 1, 1, 5, 6, 7, 7, 9, 12]],
    "export": None,
}


def price_at(tariff: dict[str, Any], lane: str, ms: int) -> int:
    """The price of the step that begins at a moment of Unix time."""
    prices = tariff[lane]
    if isinstance(prices[0], int):
        return int(prices[1][(ms - prices[0]) // tariff["step_ms"]])
    east = [east for since, east in ZONES[tariff["zone"]] if since_ms(since) <= ms][-1]
    days, inside = divmod(ms + east * 60_000, _DAY_MS)
    weekday, minute = (days + 3) % 7, inside // 60_000  # 1970 began on a Thursday
    return next(int(p) for p, on, begins, ends in prices if weekday in on and begins <= minute < ends)


def _weights(tariff: dict[str, Any], lane: str, unit_ms: int, a: int, b: int) -> list[list[int]]:
    """[first unit, end, price] of [a, b); neighbours of one price are one."""
    runs: list[list[int]] = []
    for unit in range(a, b):
        price = price_at(tariff, lane, unit * unit_ms // tariff["step_ms"] * tariff["step_ms"])
        if runs and runs[-1][2] == price:
            runs[-1][1] = unit + 1
        else:
            runs.append([unit, unit + 1, price])
    return runs


def _decimal(value: int, places: int) -> str:
    digits = str(abs(value)).rjust(places + 1, "0")
    return ("-" if value < 0 else "") + digits[:-places] + "." + digits[-places:]


def _bill(about: str, tariff: dict[str, Any], unit_ms: int, cuts: list[int], **grant: Any) -> dict[str, Any]:
    first = cuts[0] // 16 * 16
    runs = [(5, first, cuts[0] + 21), (6, cuts[0] + 21, cuts[-1])]
    chain = begin(about, 16, runs)
    lanes = [lane for lane in ("import", "export") if tariff[lane] is not None]
    size = cuts[-1] - first
    d = {lane: [(181_000 * (i + 3) ** 2 + 7 * len(lane)) % 2_000_003 for i in range(size)] for lane in lanes}
    c = {lane: chain.seal(first, d[lane], lane) for lane in lanes}
    body, k_0 = _grant(
        chain, about, kind="bill", lanes=lanes, first=cuts[0], tariff=h(payload_of(tariff)), **grant
    )
    periods: Cases = []
    for j, (a, b) in enumerate(pairwise(cuts)):
        weights = {lane: _weights(tariff, lane, unit_ms, a, b) for lane in lanes}
        r = value = weighted = 0
        for lane, runs_of in weights.items():
            for x, y, price in runs_of:
                r += price * chain.nonce(x, y, lane)
                weighted += price * sum(c[lane][x - first : y - first])
                value += price * sum(d[lane][x - first : y - first])
        assert _signed(weighted - r) == value
        token = seal_token(grant_key(k_0, j), body["id"], a, b, [r])
        periods.append(
            {
                "j": j,
                "a": a,
                "b": b,
                "weights": weights,
                "sum_price_c": hex64(weighted),
                "sum_price_r": hex64(r),
                "token": token.hex(),
                "value": value,
                "amount": _decimal(value, tariff["scale"] + 6),
            }
        )
    return {
        "case": about,
        **chain.inputs(),
        "unit_ms": unit_ms,
        "tariff": shown(tariff),
        "tariff_body": payload_of(tariff).hex(),
        "tariff_digest": h(payload_of(tariff)).hex(),
        "grant_body": payload_of(body).hex(),
        "k_0": k_0.hex(),
        "first": first,
        "c": {lane: [hex64(value) for value in values] for lane, values in c.items()},
        "periods": periods,
    }


def bill() -> dict[str, Any]:
    days = [midnight_ms("Europe/Berlin", date(2026, 3, day)) // 1_800_000 for day in (28, 29, 30, 31)]
    starts = HOURLY_LIST["import"][0] // 900_000  # type: ignore[index]
    return described(
        "One token a period: the word is the sum over lanes and price steps of price * R. `weights` are "
        "[first unit, end, price], `value` is in 10^-(scale + 6) of the currency. Prices are for the step's "
        "local beginning and the first rule that fits [price, weekdays from Monday = 0, from, until minute], "
        "or [start in ms, a price for each step].",
        cases=[
            _bill(
                "days under a time-of-use tariff, one of 23 hours",
                PEAK,
                1_800_000,
                days,
                granularity="day",
                zone="Europe/Berlin",
            ),
            _bill(
                "two hours under quarter-hour prices, negative ones too",
                HOURLY_LIST,
                900_000,
                [starts + 4, starts + 12, starts + 20],
                granularity=8,
            ),
        ],
    )


# Loads


def _half(k_j: bytes, lane: str) -> int:
    """The first u64, little-endian."""
    return int.from_bytes(mac(k_j, b"gw1/share" + lane.encode())[:8], "little")


def load() -> dict[str, Any]:
    lanes, first = ["import", "power"], 6000
    chain = begin("load", 10, [(1, first, first + 7), (3, first + 7, first + 36)])
    centre, centre_k = _grant(chain, "centre", kind="load", lanes=lanes, granularity=12, first=first)
    service, service_k = _grant(
        chain,
        "service",
        kind="load",
        lanes=lanes,
        granularity=12,
        first=first,
        partner=centre["id"],
        serial=2,
    )
    windows: Cases = []
    for j, a in enumerate(range(first, first + 36, 12)):
        r = [chain.nonce(a, a + 12, lane) for lane in lanes]
        centres = [_half(grant_key(centre_k, j), lane) for lane in lanes]
        services = [(x - y) & MASK for x, y in zip(r, centres, strict=True)]
        windows.append(
            {
                "j": j,
                "a": a,
                "b": a + 12,
                "r": [hex64(value) for value in r],
                "centre": [hex64(value) for value in centres],
                "service": [hex64(value) for value in services],
                "token": seal_token(grant_key(service_k, j), service["id"], a, a + 12, services).hex(),
            }
        )
    homes: Cases = []
    for i, d in enumerate((1200, -350, 2**40)):
        c, half = (int.from_bytes(draw(f"home {i} {what}", 8), "big") for what in ("c", "half"))
        homes.append({"c": hex64(c), "centre": hex64(half), "service": hex64(c - half - d)})
    return described(
        "R of each lane in two halves: the load monitoring centre derives its own from its K_j, the summing "
        "service finds the rest in its token. Of some homes: the sum of c, less the centre's halves, less "
        "the services' halves, is the sum of their loads.",
        **chain.inputs(),
        centre={"grant_body": payload_of(centre).hex(), "k_0": centre_k.hex()},
        service={"grant_body": payload_of(service).hex(), "k_0": service_k.hex()},
        windows=windows,
        homes=homes,
        load=1200 - 350 + 2**40,
    )


# Raw


def raw() -> dict[str, Any]:
    lanes, first = ["power", "count"], 400
    runs = [(9, first, first + 3), (11, first + 3, first + 4), (12, first + 4, first + 16)]
    chain = begin("raw", 4, runs)
    body, k_0 = _grant(chain, "raw", kind="raw", lanes=lanes, granularity=8, first=first)
    d = {"power": [100 * i - 700 for i in range(16)], "count": [int(i % 3 > 0) for i in range(16)]}
    windows: Cases = []
    for j, a in enumerate((first, first + 8)):
        links: Cases = []
        for n in (a // 4, a // 4 + 1):
            for incarnation, x, y in runs:
                if x < 4 * n + 4 and 4 * n < y:
                    inc = k_inc(chain.root, chain.stream, incarnation)
                    keys = {lane: link_key(inc, n, lane).hex() for lane in lanes}
                    links.append({"n": n, "incarnation": hex64(incarnation), "keys": keys})
        plaintext = b"".join(
            be64(link["n"]) + bytes.fromhex(link["incarnation"] + "".join(link["keys"].values()))
            for link in links
        )
        sealed = AESGCM(token_key(grant_key(k_0, j))).encrypt(
            bytes(12), plaintext, body["id"] + be64(a) + be64(a + 8)
        )
        windows.append(
            {"j": j, "a": a, "b": a + 8, "links": links, "plaintext": plaintext.hex(), "token": sealed.hex()}
        )
    return described(
        "For each link of the window, for each incarnation that sealed in it: be64(n) | be64(incarnation) | "
        "K(n, lane) of each lane of the grant; that opens every unit.",
        **chain.inputs(),
        grant_body=payload_of(body).hex(),
        k_0=k_0.hex(),
        windows=windows,
        c={lane: [hex64(value) for value in chain.seal(first, d[lane], lane)] for lane in lanes},
        d=d,
    )
