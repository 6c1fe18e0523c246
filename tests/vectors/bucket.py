"""The vectors of grants and of signed objects: bodies, sealed keys, and a small stream in its bucket."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from cryptography.exceptions import InvalidTag

from tests.vectors.plain import Signer, XWing, be64, cbor, h, hpke_open, hpke_seal
from tests.vectors.scheme import (
    Cases,
    Chain,
    begin,
    commitment,
    commitment_of,
    described,
    draw,
    hex64,
    hidden,
    i_of,
    sealed_of,
    words,
)


def body_of(stream: bytes, provider: bytes, **changes: Any) -> dict[str, Any]:
    """A grant body's values, by name, in the order of its keys."""
    return {
        "id": draw("grant id", 16),
        "stream": stream,
        "provider": provider,
        "lanes": ["import", "export"],
        "granularity": 900,
        "zone": "UTC",
        "first": 900 * 1_900_000,
        "until": None,
        "purpose": "Billing",
        "kind": "windows",
        "tariff": None,
        "issued_ms": 1_767_225_600_000,
        "serial": 1,
        "partner": None,
        "quantum": None,
        "k_min": None,
    } | changes


def payload_of(values: dict[str, Any]) -> bytes:
    """The map whose keys count from 1 in the order of the values; None is left out. The revoked grants of a
    head have key 64, its day's page 65; the window after those of a month so far has key 64."""
    keys = {name: key for key, name in enumerate(values, 1)} | {"revoked": 64, "day": 65, "so_far": 64}
    return cbor({keys[name]: value for name, value in values.items() if value is not None})


def shown(value: Any) -> Any:
    """A value as JSON has it: bytes in hex, nothing for None."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [shown(item) for item in value]
    if isinstance(value, dict):
        return {name: shown(item) for name, item in value.items() if item is not None}
    return value


def sealed_once(k_0: bytes, body: bytes, seed: bytes, kept: bytes | None) -> bytes:
    """K_0 sealed to a seed's key; what was kept, where that opens."""
    if kept is not None:
        try:
            if hpke_open(kept, h(body), XWing(seed)) == k_0:
                return kept
        except InvalidTag:
            pass
    return hpke_seal(k_0, h(body), XWing(seed).public, draw("ephemeral"))


def grant(kept: dict[str, Any] | None) -> dict[str, Any]:
    stream, provider = draw("stream", 16), Signer(3).kid
    cases: Cases = []
    for i, (about, body) in enumerate(
        (
            ("quarter hours, open", body_of(stream, provider)),
            ("minutes until a unit", body_of(stream, provider, granularity=60, until=900 * 1_900_100)),
            (
                "days in Berlin",
                body_of(stream, provider, granularity="day", zone="Europe/Berlin", first=1_767_222_000),
            ),
            (
                "months in Kathmandu, a name beyond ASCII",
                body_of(
                    stream,
                    provider,
                    lanes=["export"],
                    granularity="month",
                    zone="Asia/Kathmandu",
                    first=1_767_204_900,
                    purpose="Abrechnung für 東京",
                    tariff=draw("tariff"),
                    kind="bill",
                    quantum=10**8,
                    serial=2**40,
                ),
            ),
            (
                "a load, to the summing service, over 20 homes at least",
                body_of(
                    stream, provider, lanes=["power"], kind="load", partner=draw("partner", 16), k_min=20
                ),
            ),
            (
                "a load, to the load monitoring centre",
                body_of(stream, provider, lanes=["power"], kind="load", k_min=2**32),
            ),
            (
                "a bill to the last digit",
                body_of(stream, provider, tariff=draw("tariff"), kind="bill", quantum=1),
            ),
            (
                "a bill to 2^60",
                body_of(stream, provider, tariff=draw("tariff"), kind="bill", quantum=2**60),
            ),
            ("whole links", body_of(stream, provider, lanes=["count"], granularity=3600, kind="raw")),
        )
    ):
        payload, k_0, seed = payload_of(body), draw(f"grant k_0 {i}"), draw(f"seed {i}")
        before = bytes.fromhex(kept["cases"][i]["sealed"]) if kept and i < len(kept["cases"]) else None
        cases.append(
            {
                "case": about,
                "unit_ms": 1000,
                "fields": shown(body),
                "body": payload.hex(),
                "info": h(payload).hex(),
                "k_0": k_0.hex(),
                "seed": seed.hex(),
                "public": XWing(seed).public.hex(),
                "sealed": sealed_once(k_0, payload, seed, before).hex(),
            }
        )
    return described(
        "Grant bodies, and K_0 sealed to the X-Wing key of a seed (HPKE, HKDF-SHA256, AES-256-GCM, info = "
        "SHA-256 of the body).",
        cases=cases,
    )


class Bucket:
    """A stream's signed objects, in the order in which they were made."""

    def __init__(self, gateway: Signer, chain: Chain, unit_ms: int, lanes: list[list[str]]) -> None:
        self.gateway, self.chain, self.unit_ms = gateway, chain, unit_ms
        self.prefix = f"v1/{chain.stream.hex()}/"
        self.names = [lane[0] for lane in lanes]
        self.made: Cases = []
        descriptor = {
            "unit_ms": unit_ms,
            "link_units": chain.link_units,
            "lanes": lanes,
            "start": chain.runs[0][1],
            "signing_key": gateway.spki,
            "assurance": "tpm",
        }
        self.last = self.add("gw1/stream", "stream.cose", descriptor)
        self.chunks: Cases = []

    def add(self, type_string: str, name: str, values: dict[str, Any]) -> dict[str, Any]:
        """Sign an object of the stream and put it at a key below the stream's."""
        entry = sign(self.gateway, type_string, self.prefix + name, {"stream": self.chain.stream} | values)
        self.made.append(entry)
        return entry

    def chunk(self, incarnation: int, day: str, first: int, c: dict[str, list[int]]) -> None:
        count = len(c[self.names[0]])
        self.last = self.add(
            "gw1/chunk",
            f"chunk/{day}/{hex64(first)}.cose",
            {
                "seq": len(self.chunks),
                "incarnation": incarnation,
                "first": first,
                "count": count,
                "lanes": [words(c[lane]) for lane in self.names],
                "previous": bytes.fromhex(self.last["digest"]),
                "sealed_ms": (first + count) * self.unit_ms,
            },
        )
        self.chunks.append(self.last)

    def head(self, revoked: list[bytes] | None, day: bytes | None = None) -> None:
        """`revoked` None: as an earlier gateway signed it. `day`: the digest of the last day's page."""
        end = self.last["fields"]["first"] + self.last["fields"]["count"]
        digest = bytes.fromhex(self.last["digest"])
        head = {
            "seq": len(self.chunks) - 1,
            "digest": digest,
            "next_unit": end,
            "time_ms": end * self.unit_ms,
            "revoked": revoked,
            "day": day,
        }
        self.add("gw1/head", "head.cose", head)

    def bundle(
        self, body: dict[str, Any], k_0: bytes, start: int, cuts: list[int], p: list[list[int]], **more: Any
    ) -> None:
        """The tokens of windows from number `start` on, which meet at `cuts`, with what each holds; `more`
        has the fold and, of bills, what was weighed; "so-far" is named by the window after the last."""
        fold, weighed = more.get("fold", "new"), more.get("weighed")
        so_far = start + len(p) if fold == "so-far" else None
        sealed = sealed_of(self.chain.runs, start, cuts)
        calendar = isinstance(body["granularity"], str)
        cut_so = weighed or [be64(a) + be64(b) if calendar else b"" for a, b in pairwise(cuts)]
        tokens = [
            hidden(k_0, j, i_of(sealed, j), row, cut)
            for j, (row, cut) in enumerate(zip(p, cut_so, strict=True), start)
        ]
        self.add(
            "gw1/tokens",
            f"grant/{body['id'].hex()}/{fold}/{hex64(start if so_far is None else so_far)}.cose",
            {
                "grant": body["id"],
                "first_window": start,
                "words": words([value for row in tokens for value in row]),
                "sealed": [list(one) for one in sealed],
                "edges": cuts if calendar else None,
                "weighed": weighed,
                "commitment": commitment_of(
                    [
                        commitment(k_0, j, i_of(sealed, j), row, cut)[1]
                        for j, (row, cut) in enumerate(zip(p, cut_so, strict=True), start)
                    ]
                ),
                "so_far": so_far,
            },
        )

    def nonces(self, body: dict[str, Any], cuts: list[int]) -> list[list[int]]:
        """P of windows that meet at `cuts`."""
        return [[self.chain.nonce(a, b, lane) for lane in body["lanes"]] for a, b in pairwise(cuts)]


def sign(signer: Signer, type_string: str, key: str, values: dict[str, Any]) -> dict[str, Any]:
    payload = payload_of(values)
    signed, cose = signer.sign(type_string, payload)
    return {
        "type": type_string,
        "key": key,
        "fields": shown(values),
        "payload": payload.hex(),
        "signed": signed.hex(),
        "cose": cose.hex(),
        "digest": h(cose).hex(),
    }


def objects(kept: dict[str, Any] | None) -> dict[str, Any]:
    gateway, provider = Signer(2), Signer(3)
    first = 1_767_225_600  # 2026-01-01 in units of a second; a border of links of 8 units
    runs = [(41, first, first + 11), (42, first + 11, first + 20)]
    chain = begin("objects", 8, runs)
    d = {"import": [250 * i for i in range(20)], "power": [900 - 100 * i for i in range(20)]}
    c = {lane: chain.seal(first, values, lane) for lane, values in d.items()}
    bucket = Bucket(gateway, chain, 1000, [["import", "Wh", "0.001"], ["power", "W", "1"]])
    for incarnation, x, y in ((41, 0, 8), (41, 8, 11), (42, 11, 16), (42, 16, 20)):  # cut at links and runs
        bucket.chunk(incarnation, "2026-01-01", first + x, {lane: values[x:y] for lane, values in c.items()})
    body = body_of(
        chain.stream, provider.kid, lanes=list(d), granularity=5, first=first, issued_ms=first * 1000
    )
    folder, k_0, seed = f"grant/{body['id'].hex()}/", draw("objects k_0"), draw("objects seed")
    sealed = sealed_once(
        k_0, payload_of(body), seed, bytes.fromhex(kept["provider"]["sealed_k0"]) if kept else None
    )
    bucket.add("gw1/grant", folder + "grant.cose", {"body": payload_of(body), "sealed_k0": sealed})
    for start, cuts in ((0, [first, first + 5, first + 10, first + 15]), (3, [first + 15, first + 20])):
        bucket.bundle(body, k_0, start, cuts, bucket.nonces(body, cuts))
    bucket.add("gw1/revoked", folder + "revoked.cose", {"grant": body["id"], "from_unit": first + 20})
    bucket.head([body["id"]])
    made = {entry["key"]: bytes.fromhex(entry["cose"]) for entry in bucket.made}
    # Of windows 1 to 3: window 0, which the first bundle has too, stays closed.
    cuts = [first + 5 * j for j in range(5)]
    sealed_in = sealed_of(runs, 0, cuts)
    committed = [
        (*commitment(k_0, j, i_of(sealed_in, j), row), words(row))
        for j, row in enumerate(bucket.nonces(body, cuts))
    ]
    evidence = {
        "signing_key": provider.spki,
        "stream": chain.stream,
        "signer": gateway.kid,
        "grant": body["id"],
        "first_window": 1,
        "opened": b"".join(opening + p for opening, _, p in committed[1:]),
        "before": committed[0][1],
        "after": None,
        "objects": [[key, made[key]] for key in sorted(made) if not key.endswith("revoked.cose")],
        "claims": [sum(values[5:]) for values in d.values()],
        "tariff": None,
        "registers": [["import", 10**9, 10**9 + sum(d["import"][5:]), 1]],
        "time_ms": (first + 86_400) * 1000,
    }
    card = {
        "kid": provider.kid,
        "signing_key": provider.spki,
        "xwing_key": XWing(seed).public,
        "role": "provider",
        "name": "Stadtwerke Musterstadt",
        "valid_from_ms": first * 1000,
        "valid_until_ms": (first + 31_536_000) * 1000,
    }
    return described(
        "A stream of 20 seconds, two lanes and two incarnations, with a grant of 5-second sums, as it would "
        "lie in a bucket; `signed` is the Sig_structure, `key` the name in the bucket. Signatures are ES256 "
        "after RFC 6979, so that they can be made again. The card and the evidence are the provider's own.",
        **chain.inputs(),
        unit_ms=1000,
        spki=gateway.spki.hex(),
        provider={
            "spki": provider.spki.hex(),
            "seed": seed.hex(),
            "k_0": k_0.hex(),
            "sealed_k0": sealed.hex(),
        },
        sums={lane: [sum(values[i : i + 5]) for i in range(0, 20, 5)] for lane, values in d.items()},
        objects=[
            *bucket.made,
            sign(provider, "gw1/card", "", card),
            sign(provider, "gw1/evidence", "", evidence),
        ],
    )
