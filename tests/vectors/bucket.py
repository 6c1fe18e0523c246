"""The vectors of grants and of signed objects: bodies, sealed keys, and a small stream in its bucket."""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidTag

from tests.vectors.plain import Signer, XWing, be64, cbor, h, hpke_open, hpke_seal
from tests.vectors.scheme import Cases, begin, described, draw, grant_key, hex64, seal_token


def _body(stream: bytes, provider: bytes, **changes: Any) -> dict[str, Any]:
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
    } | changes


def _payload(values: dict[str, Any]) -> bytes:
    """The map whose keys count from 1 in the order of the values; None is left out."""
    return cbor({key: value for key, value in enumerate(values.values(), 1) if value is not None})


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return value


def _show(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _shown(value) for name, value in values.items() if value is not None}


def _sealed_once(k_0: bytes, body: bytes, seed: bytes, kept: bytes | None) -> bytes:
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
            ("quarter hours, open", _body(stream, provider)),
            ("minutes until a unit", _body(stream, provider, granularity=60, until=900 * 1_900_100)),
            (
                "days in Berlin",
                _body(stream, provider, granularity="day", zone="Europe/Berlin", first=1_767_222_000),
            ),
            (
                "months in Kathmandu, a name beyond ASCII",
                _body(
                    stream,
                    provider,
                    lanes=["count"],
                    granularity="month",
                    zone="Asia/Kathmandu",
                    first=1_767_204_900,
                    purpose="Abrechnung für 東京",
                    tariff=draw("tariff"),
                    kind="bill",
                    serial=2**40,
                ),
            ),
        )
    ):
        payload, k_0, seed = _payload(body), draw(f"grant k_0 {i}"), draw(f"seed {i}")
        before = bytes.fromhex(kept["cases"][i]["sealed"]) if kept else None
        cases.append(
            {
                "case": about,
                "unit_ms": 1000,
                "fields": _show(body),
                "body": payload.hex(),
                "info": h(payload).hex(),
                "k_0": k_0.hex(),
                "seed": seed.hex(),
                "public": XWing(seed).public.hex(),
                "sealed": _sealed_once(k_0, payload, seed, before).hex(),
            }
        )
    return described(
        "Grant bodies, and K_0 sealed to the X-Wing key of a seed (HPKE, HKDF-SHA256, AES-256-GCM, info = "
        "SHA-256 of the body).",
        cases=cases,
    )


def _sign(signer: Signer, type_string: str, key: str, values: dict[str, Any]) -> dict[str, Any]:
    payload = _payload(values)
    signed, cose = signer.sign(type_string, payload)
    return {
        "type": type_string,
        "key": key,
        "fields": _show(values),
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
    stream, prefix = chain.stream, f"v1/{chain.stream.hex()}/"
    d = {"import": [250 * i for i in range(20)], "power": [900 - 100 * i for i in range(20)]}
    c = {lane: chain.seal(first, values, lane) for lane, values in d.items()}
    made = [
        _sign(
            gateway,
            "gw1/stream",
            prefix + "stream.cose",
            {
                "stream": stream,
                "unit_ms": 1000,
                "link_units": 8,
                "lanes": [["import", "Wh", "0.001"], ["power", "W", "1"]],
                "start": first,
                "signing_key": gateway.spki,
                "assurance": "tpm",
            },
        )
    ]
    pieces = [(41, 0, 8), (41, 8, 11), (42, 11, 16), (42, 16, 20)]  # cut at links and incarnations
    for seq, (incarnation, x, y) in enumerate(pieces):
        made.append(
            _sign(
                gateway,
                "gw1/chunk",
                f"{prefix}chunk/2026-01-01/{hex64(first + x)}.cose",
                {
                    "stream": stream,
                    "seq": seq,
                    "incarnation": incarnation,
                    "first": first + x,
                    "count": y - x,
                    "lanes": [b"".join(be64(value)[::-1] for value in c[lane][x:y]) for lane in d],
                    "previous": bytes.fromhex(made[-1]["digest"]),
                    "sealed_ms": (first + y) * 1000,
                },
            )
        )
    head = {
        "stream": stream,
        "seq": 3,
        "digest": bytes.fromhex(made[-1]["digest"]),
        "next_unit": first + 20,
        "time_ms": (first + 20) * 1000,
    }
    made.append(_sign(gateway, "gw1/head", prefix + "head.cose", head))
    body = _body(stream, provider.kid, lanes=list(d), granularity=5, first=first, issued_ms=first * 1000)
    folder, k_0, seed = f"{prefix}grant/{body['id'].hex()}/", draw("objects k_0"), draw("objects seed")
    sealed = _sealed_once(
        k_0, _payload(body), seed, bytes.fromhex(kept["provider"]["sealed_k0"]) if kept else None
    )
    bound = {"stream": stream, "body": _payload(body), "sealed_k0": sealed}
    made.append(_sign(gateway, "gw1/grant", folder + "grant.cose", bound))
    for start, count in ((0, 3), (3, 1)):
        tokens = b"".join(
            seal_token(
                grant_key(k_0, j),
                body["id"],
                first + 5 * j,
                first + 5 * j + 5,
                [chain.nonce(first + 5 * j, first + 5 * j + 5, lane) for lane in d],
            )
            for j in range(start, start + count)
        )
        bundle = {
            "stream": stream,
            "grant": body["id"],
            "first_window": start,
            "count": count,
            "tokens": tokens,
        }
        made.append(_sign(gateway, "gw1/tokens", f"{folder}new/{hex64(start)}.cose", bundle))
    revoked = {"stream": stream, "grant": body["id"], "from_unit": first + 20}
    made.append(_sign(gateway, "gw1/revoked", folder + "revoked.cose", revoked))
    card = {
        "kid": provider.kid,
        "signing_key": provider.spki,
        "xwing_key": XWing(seed).public,
        "role": "provider",
        "name": "Stadtwerke Musterstadt",
        "valid_from_ms": first * 1000,
        "valid_until_ms": (first + 31_536_000) * 1000,
    }
    made.append(_sign(provider, "gw1/card", "", card))
    return described(
        "A stream of 20 seconds, two lanes and two incarnations, with a grant of 5-second sums, as it would "
        "lie in a bucket; `signed` is the Sig_structure, `key` the name in the bucket. Signatures are ES256 "
        "after RFC 6979, so that they can be made again. The card is the provider's own.",
        **chain.inputs(),
        spki=gateway.spki.hex(),
        provider={
            "spki": provider.spki.hex(),
            "seed": seed.hex(),
            "k_0": k_0.hex(),
            "sealed_k0": sealed.hex(),
        },
        sums={lane: [sum(values[i : i + 5]) for i in range(0, 20, 5)] for lane, values in d.items()},
        objects=made,
    )
