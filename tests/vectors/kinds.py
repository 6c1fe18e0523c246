"""The vectors of bills, loads and raw grants: what their tokens hold, and what that opens."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vectors.bucket import body_of, payload_of, shown
from tests.vectors.calendars import ZONES, midnight_ms, since_ms
from tests.vectors.plain import MASK, be64, h, mac
from tests.vectors.scheme import (
    BLOCK,
    Cases,
    Chain,
    begin,
    block_key,
    described,
    draw,
    hex64,
    hidden,
    i_of,
    k_inc,
    link_key,
    masks,
    sealed_of,
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
FEED_IN = {
    "currency": "EUR",
    "scale": 1,
    "zone": "UTC",
    "step_ms": 1_800_000,
    "import": None,
    "export": [[-1, _ALL_WEEK, 0, 1440]],
}
_MAY = 20_574  # 1 May 2026, in days since 1970
DATED = {
    "currency": "EUR",
    "scale": 3,
    "zone": "Europe/Berlin",
    "step_ms": 3_600_000,
    "import": [
        [900, _ALL_WEEK, 0, 1440, {4: [_MAY + 1]}],
        [150, [6, 7], 0, 1440],
        [320, [0, 1, 2, 3, 4], 480, 1200, {1: [4, 10], 3: _MAY}],
        [350, [0, 1, 2, 3, 4], 480, 1200, {2: _MAY}],
        [210, _ALL_WEEK, 0, 1440],
        [-40, [7], 0, 1440],
    ],
    "export": None,
    "since": _MAY - 30,
    "before": _MAY + 245,
    "holidays": [_MAY, _MAY + 13],
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
    day, inside = divmod(ms + east * 60_000, _DAY_MS)
    kind = 7 if day in tariff.get("holidays", []) else (day + 3) % 7  # 1970 began on a Thursday
    month = (date(1970, 1, 1) + timedelta(days=day)).month
    for price, kinds, begins, ends, *rest in prices:
        when = rest[0] if rest else {}
        if (
            kind in kinds
            and begins <= inside // 60_000 < ends
            and month in when.get(1, [month])
            and when.get(2, day) <= day < when.get(3, day + 1)
            and day in when.get(4, [day])
        ):
            return int(price)
    raise ValueError(ms)


def weights_of(tariff: dict[str, Any], lane: str, unit_ms: int, a: int, b: int) -> list[list[int]]:
    """[first unit, end, price] of [a, b); neighbours of one price are one."""
    runs: list[list[int]] = []
    for unit in range(a, b):
        price = price_at(tariff, lane, unit * unit_ms // tariff["step_ms"] * tariff["step_ms"])
        if runs and runs[-1][2] == price:
            runs[-1][1] = unit + 1
        else:
            runs.append([unit, unit + 1, price])
    return runs


def _rounded(value: int, quantum: int) -> int:
    """The nearest multiple; of two, the upper one."""
    below = value // quantum * quantum
    return below + quantum if 2 * (value - below) >= quantum else below


def steps_digest(weights: dict[str, list[list[int]]]) -> bytes:
    """H of the steps of a bill as they were weighed."""
    content = b""
    for lane, steps in weights.items():
        content += lane.encode() + be64(len(steps))
        for x, y, price in steps:
            content += be64(x) + be64(y) + be64(price & MASK)
    return h(content)


Lanes = dict[str, list[int]]


def bill_words(
    chain: Chain, weights: dict[str, list[list[int]]], c: Lanes, d: Lanes, first: int, quantum: int
) -> tuple[int, int, int, int]:
    """Of one bill the sums of price * R and of price * C, what is due, and that rounded; c and d begin with
    unit `first`."""
    r = value = weighted = 0
    for lane, steps in weights.items():
        for x, y, price in steps:
            r += price * chain.nonce(x, y, lane)
            weighted += price * sum(c[lane][x - first : y - first])
            value += price * sum(d[lane][x - first : y - first])
    assert _signed(weighted - r) == value
    return r, weighted, value, _rounded(value, quantum)


def _decimal(value: int, places: int) -> str:
    digits = str(abs(value)).rjust(places + 1, "0")
    return ("-" if value < 0 else "") + digits[:-places] + "." + digits[-places:]


def _bill(
    about: str,
    tariff: dict[str, Any],
    unit_ms: int,
    cuts: list[int],
    quantum: int,
    d: dict[str, list[int]] | None = None,
    **grant: Any,
) -> dict[str, Any]:
    first = cuts[0] // 16 * 16
    runs = [(5, first, cuts[0] + 21), (6, cuts[0] + 21, cuts[-1])]
    chain = begin(about, 16, runs)
    lanes = [lane for lane in ("import", "export") if tariff[lane] is not None]
    size = cuts[-1] - first
    if d is None:
        d = {
            lane: [(181_000 * (i + 3) ** 2 + 7 * len(lane)) % 2_000_003 for i in range(size)]
            for lane in lanes
        }
    c = {lane: chain.seal(first, d[lane], lane) for lane in lanes}
    body, k_0 = _grant(
        chain,
        about,
        kind="bill",
        lanes=lanes,
        first=cuts[0],
        tariff=h(payload_of(tariff)),
        quantum=quantum,
        **grant,
    )
    sealed = sealed_of(runs, 0, cuts)
    periods: Cases = []
    for j, (a, b) in enumerate(pairwise(cuts)):
        weights = {lane: weights_of(tariff, lane, unit_ms, a, b) for lane in lanes}
        r, weighted, value, rounded = bill_words(chain, weights, c, d, first, quantum)
        p = r + value - rounded
        (token,) = hidden(k_0, j, i_of(sealed, j), [p & MASK], steps_digest(weights))
        periods.append(
            {
                "j": j,
                "a": a,
                "b": b,
                "weights": weights,
                "sum_price_c": hex64(weighted),
                "sum_price_r": hex64(r),
                "exact": value,
                "p": hex64(p),
                "token": hex64(token),
                "steps_digest": steps_digest(weights).hex(),
                "rounded": rounded,
                "amount": _decimal(rounded, tariff["scale"] + 6),
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
        "quantum": quantum,
        "sealed": [[window, hex64(incarnation)] for window, incarnation in sealed],
        "first": first,
        "c": {lane: [hex64(value) for value in values] for lane, values in c.items()},
        "periods": periods,
    }


def bill() -> dict[str, Any]:
    days = [midnight_ms("Europe/Berlin", date(2026, 3, day)) // 1_800_000 for day in (28, 29, 30, 31)]
    may = midnight_ms("Europe/Berlin", date(2026, 4, 30)) // 1_800_000
    starts = HOURLY_LIST["import"][0] // 900_000  # type: ignore[index]
    return described(
        "One token a period. B, the `exact` bill, is the sum over lanes and price steps of price * (C - R), "
        "and P = sum of price * R + B - Q * floor((2B + Q) / (2Q)): so the sum of price * C, less P, is the "
        "`rounded` bill, in 10^-(scale + 6) of the currency. `weights` are [first unit, end, price], and "
        "`steps_digest` is SHA-256 over, of each lane, its name | be64(number of steps) | of each step "
        "be64(first unit) | be64(end) | be64(price mod 2^64); the key of S has it behind be64(i). Prices are "
        "for the step's local beginning and the first rule that fits [price, kinds of day (weekdays from "
        "Monday = 0; 7 is a public holiday), from, until minute, where given {1: months, 2: from this date "
        "on, 3: before this date, 4: dates}], dates in days since 1970; or [start in ms, a price for each "
        "step].",
        cases=[
            _bill(
                "days under a time-of-use tariff, one of 23 hours, to the cent",
                PEAK,
                1_800_000,
                days,
                10**8,
                granularity="day",
                zone="Europe/Berlin",
            ),
            _bill(
                "30 April to 2 May: months, prices before and from a date, a public holiday, a listed date",
                DATED,
                1_800_000,
                [may, *(may + 48 * day for day in (1, 2, 3))],
                10**7,
                granularity="day",
                zone="Europe/Berlin",
            ),
            _bill(
                "two hours under quarter-hour prices, negative ones too, to a prime",
                HOURLY_LIST,
                900_000,
                [starts + 4, starts + 12, starts + 20],
                999_983,
                granularity=8,
            ),
            _bill(
                "paid to the home: halves go up, -100 to 0, -300 to -200, -299 to -200",
                FEED_IN,
                1_800_000,
                [48, 96, 144, 192],
                200,
                {"export": _one_a_period([100, 300, 299])},
                granularity=48,
            ),
            _bill(
                "to the last digit: Q = 1",
                FEED_IN,
                1_800_000,
                [48, 96],
                1,
                granularity=48,
            ),
        ],
    )


def _one_a_period(values: list[int]) -> list[int]:
    """So much in one unit of each period of 48."""
    return [value if i == 17 else 0 for value in values for i in range(48)]


# Loads


def load() -> dict[str, Any]:
    lanes, first, values = ["import", "power"], 6000, {"import": (1200, -350, 2**40), "power": (-7, 2**50, 0)}
    cuts = list(range(first, first + 37, 12))
    parties = {}
    homes: Cases = []
    for i in range(3):
        cut = first + 7 + 9 * i
        chain = begin(f"load {i}", 10, [(i + 1, first, cut), (2**63 + i, cut, first + 36)])
        shared = {"kind": "load", "lanes": lanes, "granularity": 12, "first": first}
        centre, centre_k = _grant(chain, f"centre {i}", **shared)
        service, service_k = _grant(
            chain, f"service {i}", **shared, partner=centre["id"], k_min=3 if i else None, serial=2
        )
        parties = {"centre": (centre, centre_k), "service": (service, service_k)}
        d = {lane: [values[lane][i] * (1 + k) // 36 for k in range(36)] for lane in lanes}
        c = {lane: chain.seal(first, d[lane], lane) for lane in lanes}
        sealed = sealed_of(chain.runs, 0, cuts)
        windows: Cases = []
        for j, (a, b) in enumerate(pairwise(cuts)):
            r = [chain.nonce(a, b, lane) for lane in lanes]
            centres, services = (masks(k, j, i_of(sealed, j), len(lanes)) for k in (centre_k, service_k))
            token = [(x + y + z) & MASK for x, y, z in zip(r, centres, services, strict=True)]
            windows.append(
                {
                    "j": j,
                    "a": a,
                    "b": b,
                    "d": [sum(d[lane][a - first : b - first]) for lane in lanes],
                    "c": [hex64(sum(c[lane][a - first : b - first])) for lane in lanes],
                    "r": [hex64(value) for value in r],
                    "centre": [hex64(value) for value in centres],
                    "service": [hex64(value) for value in services],
                    "token": [hex64(value) for value in token],
                }
            )
        homes.append(
            {
                **chain.inputs(),
                "sealed": [[window, hex64(incarnation)] for window, incarnation in sealed],
                **{
                    name: {"grant_body": payload_of(g).hex(), "k_0": k.hex()}
                    for name, (g, k) in parties.items()
                },
                "windows": windows,
            }
        )
    loads = []
    for j in range(3):
        at = [home["windows"][j] for home in homes]
        for k in range(len(lanes)):
            total = sum(
                int(one["c"][k], 16) - int(one["token"][k], 16) + int(one["centre"][k], 16) for one in at
            )
            service_sum = sum(int(one["service"][k], 16) for one in at) & MASK
            assert _signed(total + service_sum) == sum(one["d"][k] for one in at)
            loads.append(
                {
                    "j": j,
                    "lane": lanes[k],
                    "service_sum": hex64(service_sum),
                    "load": sum(one["d"][k] for one in at),
                }
            )
    return described(
        "A token of a load is R + the words of the load monitoring centre + those of the summing service, of "
        "each lane: each party's own S at the window's place. Over all homes, the sum of c less the tokens, "
        "with the centre's words and the service's one sum, is the load.",
        homes=homes,
        loads=loads,
    )


# Raw


def raw() -> dict[str, Any]:
    lanes, first = ["power", "count"], 400
    runs = [(9, first, first + 3), (11, first + 3, first + 4), (12, first + 4, first + 16)]
    chain = begin("raw", 4, runs)
    body, k_0 = _grant(chain, "raw", kind="raw", lanes=lanes, granularity=8, first=first)
    sealed = sealed_of(runs, 0, [first, first + 8, first + 16])
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
        incarnation = i_of(sealed, j)
        key = mac(block_key(k_0, j // BLOCK), b"gw1/raw" + be64(j) + be64(incarnation))
        token = AESGCM(key).encrypt(bytes(12), plaintext, body["id"] + be64(a) + be64(a + 8))
        windows.append(
            {
                "j": j,
                "a": a,
                "b": a + 8,
                "incarnation": hex64(incarnation),
                "links": links,
                "plaintext": plaintext.hex(),
                "key": key.hex(),
                "token": token.hex(),
            }
        )
    return described(
        "For each link of the window, for each incarnation that sealed in it: be64(n) | be64(incarnation) | "
        'K(n, lane) of each lane of the grant; that opens every unit. `key` is HMAC(K_m, "gw1/raw" | be64(j) '
        "| be64(incarnation of the window's last unit)), the token AES-256-GCM(key, nonce 0, aad = id | "
        "be64(a) | be64(b)).",
        **chain.inputs(),
        grant_body=payload_of(body).hex(),
        k_0=k_0.hex(),
        windows=windows,
        c={lane: [hex64(value) for value in chain.seal(first, d[lane], lane)] for lane in lanes},
        d=d,
    )
