"""The paper's Table 1, and the same phases here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.bench.chain import LAYOUT, example_grant
from gateway.bench.figure import median_s
from gateway.chain.grant import open_k0, seal_k0, xwing_public_bytes
from gateway.chain.issue import hide
from gateway.chain.keys import KeyChain, link_key
from gateway.chain.seal import seal, words
from gateway.chain.token import Sealed
from gateway.wire import cose
from gateway.wire.grant import grant_body
from gateway.wire.stream import Chunk


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A row of the paper's Table 1 beside ours: ms and bytes, as the paper prints them."""

    phase: str
    paper_ms: str
    paper_bytes: str
    here_ms: float
    here_bytes: int


def paper_table(repeat: int = 201) -> list[PaperRow]:
    """The paper's Table 1, and the same phases here."""
    seed, k_0, k_inc = os.urandom(32), os.urandom(32), os.urandom(32)
    public = xwing_public_bytes(seed)
    grant = example_grant("windows", 900)
    body = grant_body(grant)
    sealed = seal_k0(k_0, public, body)
    signer = ec.generate_private_key(ec.SECP256R1())
    d = np.zeros(LAYOUT.link_units, np.uint64)
    w = words(link_key(k_inc, 0, "import"), LAYOUT.link_units)
    nonce = np.ones((1, grant.words), np.uint64)
    chunk = Chunk(bytes(16), 0, 1, 0, 900, (bytes(7200),), bytes(32), 10**12).payload()

    def ms(work: Callable[[], object]) -> float:
        return median_s(work, repeat) * 1e3

    return [
        PaperRow(
            "registration: a grant's key exchanged with the provider",
            "< 10",
            "1592",
            ms(lambda: open_k0(seal_k0(k_0, public, body), seed, body)),
            len(body) + len(sealed),
        ),
        PaperRow(
            "generating a nonce (of a unit; 3600 at a time)",
            "1.2",
            "2",
            ms(lambda: words(link_key(k_inc, 0, "import"), LAYOUT.link_units)) / LAYOUT.link_units,
            8,
        ),
        PaperRow(
            "encrypting a meter reading (3600 at a time)",
            "< 12",
            "19",
            ms(lambda: seal(w, 0, d)) / LAYOUT.link_units,
            8,
        ),
        PaperRow(
            "session key exchange: a window's token",
            "4.3",
            "17",
            ms(lambda: hide(nonce, KeyChain(k_0), [Sealed(0, 1)], 0)),
            nonce.nbytes,
        ),
        PaperRow(
            "data transmission: a signed chunk, a reading's share",
            "2.8",
            "68",
            ms(lambda: signer.sign(chunk, ec.ECDSA(hashes.SHA256()))) / 900,
            len(cose.assemble(bytes(16), chunk, bytes(64))) // 900,
        ),
    ]
