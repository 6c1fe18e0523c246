"""The vectors of day and month pages, and of the tokens folded with them: three dates of one stream."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tests.vectors.bucket import Bucket, body_of, payload_of, sealed_once
from tests.vectors.kinds import PEAK, bill_words, steps_digest, weights_of
from tests.vectors.plain import MASK, Signer, h
from tests.vectors.scheme import begin, described, draw, words

_DAY = 144  # units of 10 min
_FEBRUARY = 1_769_904_000_000 // 600_000  # 2026-02-01 in those units


def pages(kept: dict[str, Any] | None) -> dict[str, Any]:
    gateway, provider = Signer(2), Signer(3)
    start = _FEBRUARY - _DAY - 21  # 2026-01-30, 20:30: a border of links of 25 units
    end = _FEBRUARY + 4
    chain = begin("pages", 25, [(7, start, start + 60), (8, start + 60, end)])
    bucket = Bucket(gateway, chain, 600_000, [["import", "Wh", "0.001"], ["power", "W", "1"]])
    d = {
        "import": [(977 * i * i) % 90_001 for i in range(end - start)],
        "power": [1500 - 31 * i for i in range(end - start)],
    }
    c = {lane: chain.seal(start, values, lane) for lane, values in d.items()}
    made: dict[str, list[bytes]] = {"day": [], "month": []}

    def page(
        period: str, units: tuple[int, int], step: int, children: list[bytes], so_far: bool = False
    ) -> None:
        first = -(-units[0] // step) * step
        count = (units[1] - first) // step
        sums = [
            [sum(c[lane][x - start : x - start + step]) & MASK for x in range(first, units[1], step)]
            for lane in bucket.names
        ]
        span = "so-far" if so_far else "day" if len(period) == 10 else "month"
        entry = bucket.add(
            "gw1/sofar" if so_far else "gw1/page",
            f"{span}/{period}.cose",
            {
                "period": period,
                "step": step,
                "first": first,
                "count": count,
                "sums": [words(lane) for lane in sums],
                "children": children,
                "previous": made[span][-1] if made.get(span) else None,
            },
        )
        made.setdefault(span, []).append(bytes.fromhex(entry["digest"]))

    borders = sorted({start, start + 60, end, *range(start, end, 25)})
    for x, y in pairwise(borders):
        incarnation = 7 if x < start + 60 else 8
        day = f"2026-01-{32 + (x - _FEBRUARY) // _DAY}" if x < _FEBRUARY else "2026-02-01"
        bucket.chunk(incarnation, day, x, {lane: v[x - start : y - start] for lane, v in c.items()})

    def overlapping(a: int, b: int) -> list[bytes]:
        return [
            bytes.fromhex(chunk["digest"])
            for chunk in bucket.chunks
            if chunk["fields"]["first"] < b and a < chunk["fields"]["first"] + chunk["fields"]["count"]
        ]

    friday, saturday = (start, _FEBRUARY - _DAY), (_FEBRUARY - _DAY, _FEBRUARY)
    page("2026-01-30", friday, 1, overlapping(*friday))
    page("2026-01-30", friday, 2, made["day"], so_far=True)  # of January
    page("2026-01-31", saturday, 1, overlapping(*saturday))
    page("2026-01", (start, _FEBRUARY), 2, made["day"])
    bucket.head(None, made["day"][-1])

    body = body_of(
        chain.stream, provider.kid, lanes=list(d), granularity=18, first=start + 3, issued_ms=start * 600_000
    )
    k_0, seed = draw("pages k_0"), draw("pages seed")
    sealed = sealed_once(
        k_0, payload_of(body), seed, bytes.fromhex(kept["provider"]["sealed_k0"]) if kept else None
    )
    bound = {"body": payload_of(body), "sealed_k0": sealed}
    bucket.add("gw1/grant", f"grant/{body['id'].hex()}/grant.cose", bound)
    cuts = list(range(start + 3, _FEBRUARY + 1, 18))
    for fold, parts in (
        ("new", ((0, cuts[:4]), (3, cuts[3:]))),
        ("day", ((0, cuts[:2]), (1, cuts[1:]))),  # the window that ended with Friday, and Saturday's
        ("so-far", ((0, cuts[:2]),)),  # of January up to Friday
        ("month", ((0, cuts),)),
    ):
        for first, some in parts:
            bucket.bundle(body, k_0, first, some, bucket.nonces(body, some), fold=fold)

    days = [_FEBRUARY - _DAY - 6, _FEBRUARY - 6]  # Saturday as Berlin's clocks have it
    bill = body_of(
        chain.stream,
        provider.kid,
        id=draw("pages bill id", 16),
        lanes=["import"],
        granularity="day",
        zone="Europe/Berlin",
        first=days[0],
        kind="bill",
        tariff=h(payload_of(PEAK)),
        issued_ms=start * 600_000,
        serial=2,
        quantum=10**8,
    )
    bill_k_0 = draw("pages bill k_0")
    bill_sealed = sealed_once(
        bill_k_0, payload_of(bill), seed, bytes.fromhex(kept["bill"]["sealed_k0"]) if kept else None
    )
    bound = {"body": payload_of(bill), "sealed_k0": bill_sealed}
    bucket.add("gw1/grant", f"grant/{bill['id'].hex()}/grant.cose", bound)
    weights = {"import": weights_of(PEAK, "import", 600_000, *days)}
    r, _, exact, rounded = bill_words(chain, weights, c, d, start, 10**8)
    for fold in ("new", "day", "month"):
        p = [[(r + exact - rounded) & MASK]]
        bucket.bundle(bill, bill_k_0, 0, days, p, fold=fold, weighed=[steps_digest(weights)])
    return described(
        "A stream of 10-minute units from 2026-01-30 20:30 to 2026-02-01 00:40 UTC, with the pages of the "
        "two days and the month that have passed, the sums of that month up to its first day's end, and the "
        "tokens of 3-hour windows, once as they closed and once more by day and by month. A month's step is "
        "20 min, so its first is not the stream's. Another grant is the bill of a calendar day in Berlin, to "
        "the cent: its bundles have edges and the digest of its steps.",
        **chain.inputs(),
        unit_ms=600_000,
        spki=gateway.spki.hex(),
        provider={
            "spki": provider.spki.hex(),
            "seed": seed.hex(),
            "k_0": k_0.hex(),
            "sealed_k0": sealed.hex(),
        },
        sums={
            lane: [sum(values[x - start : x - start + 18]) for x in cuts[:-1]] for lane, values in d.items()
        },
        bill={
            "k_0": bill_k_0.hex(),
            "sealed_k0": bill_sealed.hex(),
            "tariff_body": payload_of(PEAK).hex(),
            "weights": weights,
            "exact": exact,
            "rounded": rounded,
        },
        objects=bucket.made,
    )
