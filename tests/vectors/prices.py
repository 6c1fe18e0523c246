"""The vector of a price series."""

from __future__ import annotations

from typing import Any

from tests.vectors.bucket import sign
from tests.vectors.plain import Signer
from tests.vectors.scheme import described, hex64


def prices() -> dict[str, Any]:
    provider = Signer(3)
    start, hour = 1_774_738_800_000, 3_600_000  # 2026-03-29T00:00+01:00, a day of 23 hours in Berlin
    listed = [-215, 0, 1032, 2**63 - 1, -(2**63)]
    intervals = [[start + n * hour, hour, price] for n, price in enumerate(listed)]
    intervals += [[start + 6 * hour, 17 * hour, 3215]]  # after an hour without a price
    values = {
        "provider": provider.kid,
        "serial": 7,
        "name": "Day ahead",
        "lanes": ["import", "export"],
        "currency": "EUR",
        "decimals": 4,
        "zone": "Europe/Berlin",
        "intervals": intervals,
        "issued_ms": start - 12 * hour,
    }
    key = f"v1/prices/{provider.kid.hex()}/{hex64(start)}/{hex64(7)}.cose"
    return described(
        "A provider's price series, as it would lie in a bucket; `signed` is the Sig_structure, `key` the "
        "name in the bucket, `spki` the signing key of the provider's card. The signature is ES256 after RFC "
        "6979.",
        spki=provider.spki.hex(),
        objects=[sign(provider, "gw1/prices", key, values)],
    )
