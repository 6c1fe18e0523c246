"""The speed of the chain, against the keystream that it needs and the ciphers that people would use instead.

Every figure is a ratio of two medians taken in one run on one machine. A rival's library that is not
installed (`phe` for Paillier) is an error, not a gap.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from gateway.bench.figure import Figure, median_s
from gateway.chain.consent.check import check
from gateway.chain.consent.held import Held
from gateway.chain.grant import Grant, Kind
from gateway.chain.issue import Sealing, hide, sealed_by, window_words
from gateway.chain.keys import KeyChain, link_key, tokens_key
from gateway.chain.layout import ENERGY, LANES, Layout, Run
from gateway.chain.prices import Dynamic, Rule, TimeOfUse
from gateway.chain.seal import U64, seal, unseal, words
from gateway.chain.share import blinded, load
from gateway.chain.tariff import Tariff, cent
from gateway.chain.token import Sealed, masks
from gateway.chain.window import Granularity
from gateway.errors import Unavailable
from gateway.wire import cose, es256
from gateway.wire.grant import GrantObject, Tokens, grant_body
from gateway.wire.stream import Chunk, Descriptor, Head, Page

DAY = 86_400
YEAR = 365 * DAY
LAYOUT = Layout()
_LINKS = DAY // LAYOUT.link_units


def figures() -> Iterator[Figure]:
    """All figures, one after another: some take seconds."""
    yield from _against_keystream()
    yield from _year()
    yield from _against_ciphers()
    yield from _bytes()
    yield _load()
    yield _consent()


def _against_keystream() -> Iterator[Figure]:
    """Sealing and opening a day, link by link, against the bare keystream of the same length."""
    rng = np.random.default_rng(1)
    d = rng.integers(0, 2**32, LAYOUT.link_units, dtype=np.uint64)
    k_inc = os.urandom(32)
    size = 8 * (LAYOUT.link_units + 1)

    def keystream() -> None:
        for n in range(_LINKS):
            cipher = Cipher(algorithms.ChaCha20(n.to_bytes(32, "big"), bytes(16)), mode=None)
            cipher.encryptor().update(bytes(size))

    def sealing() -> None:
        for n in range(_LINKS):
            seal(words(link_key(k_inc, n, "import"), LAYOUT.link_units), 0, d)

    def opening() -> None:
        for n in range(_LINKS):
            unseal(words(link_key(k_inc, n, "import"), LAYOUT.link_units), 0, d)

    for name, work in (("seal", sealing), ("open", opening)):
        ours, rival = median_s(work, 21), median_s(keystream, 21)
        yield Figure(
            name, DAY / ours / 1e6, DAY / rival / 1e6, "million readings/s", "bare ChaCha20", "at least 0.6"
        )


def _year() -> Iterator[Figure]:
    """A year at 1 s as quarter hours: the sums of one lane, and the tokens that give the nonces of two."""
    rng = np.random.default_rng(2)
    root, k_0 = os.urandom(32), os.urandom(32)
    d = rng.integers(0, 2**20, YEAR, dtype=np.uint64)
    c = np.concatenate(
        [
            seal(words(link_key(root, n, "import"), LAYOUT.link_units), 0, part)
            for n, part in enumerate(d.reshape(-1, LAYOUT.link_units))
        ]
    )
    grant = example_grant("windows", 900, ("import", "export"))
    sealing = Sealing(LAYOUT, [Run(1, 0, YEAR)], lambda _incarnation: root)
    edges, windows = range(0, YEAR + 1, 900), YEAR // 900
    sealed = sealed_by(sealing.runs, 0, edges)
    words_of = window_words(grant, sealing, edges)

    def issuing() -> U64:
        return hide(words_of, KeyChain(k_0), sealed, 0)

    tokens = issuing()

    def nonces() -> U64:
        return tokens - masks(KeyChain(k_0), sealed, 0, windows, grant.words)

    starts, r = np.arange(0, YEAR, 900), nonces()[:, 0]

    def opening() -> U64:
        return np.asarray(np.add.reduceat(c, starts) - r)

    if not np.array_equal(opening(), np.add.reduceat(d, starts)):
        raise AssertionError("the year did not open to what was sealed")
    plain = median_s(lambda: np.add.reduce(c))
    ours = median_s(opening)
    yield Figure("year", ours * 1e3, plain * 1e3, "ms", "numpy adding the same array up", "at most 3")
    for name, work in (("year_tokens", nonces), ("year_issue", issuing)):
        ours = median_s(work, 51)
        yield Figure(name, ours * 1e3, plain * 1e3, "ms", "numpy adding the same array up", "at most 0.1")


def example_grant(kind: Kind, size: int, lanes: tuple[str, ...] = ("import",)) -> Grant:
    """A grant from unit 0 on, of windows of `size` units."""
    return Grant(
        id=bytes(16),
        stream=bytes(16),
        provider=bytes(16),
        lanes=lanes,
        granularity=Granularity(size, LAYOUT.unit_ms),
        first=0,
        until=None,
        purpose="bench",
        kind=kind,
        issued_ms=0,
        serial=1,
    )


def _against_ciphers() -> Iterator[Figure]:
    """A reading sealed in a batch, against a reading encrypted on its own, as people would do it."""
    rng = np.random.default_rng(3)
    d = rng.integers(0, 2**32, LAYOUT.link_units, dtype=np.uint64)
    k_inc, n = os.urandom(32), iter(range(10**9))

    def sealing() -> None:
        seal(words(link_key(k_inc, next(n), "import"), LAYOUT.link_units), 0, d)

    ours = median_s(sealing, 101) / LAYOUT.link_units
    for name, against, rival in (
        ("aes_gcm", "AES-256-GCM, a nonce and a tag each", _aes_gcm),
        ("rsa_2048", "RSA-2048-OAEP, the paper's", _rsa_2048),
        ("paillier_2048", "Paillier with 2048 bits (phe)", _paillier_2048),
    ):
        yield Figure(name, ours * 1e6, rival() * 1e6, "us/reading", against, "less than 1")


def _aes_gcm() -> float:
    cipher, reading = AESGCM(os.urandom(32)), bytes(8)

    def hundred() -> None:
        for nonce in range(100):
            cipher.encrypt(nonce.to_bytes(12, "big"), reading, None)

    return median_s(hundred, 21) / 100


def _rsa_2048() -> float:
    key = rsa.generate_private_key(65537, 2048).public_key()
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return median_s(lambda: key.encrypt(bytes(8), oaep), 101)


def _paillier_2048() -> float:
    try:
        from phe import paillier  # noqa: PLC0415 - a rival's library, LGPL: measured, never shipped
    except ImportError:
        raise Unavailable(
            "the rival Paillier is not installed: run ./provisioning/venv.sh test, or pip install phe"
        ) from None
    key, _ = paillier.generate_paillier_keypair(n_length=2048)
    return median_s(lambda: key.encrypt(12345), 5)


def _load() -> Figure:
    """A day of quarter hours summed over homes by the centre: their ciphertexts, their tokens and the words
    of its own, from the key of the block that it has reached, beside the keystream of these words alone.

    Measured on a thousand homes, the hundredth part of 10^5, since each costs the same. To read and check
    what the store holds is not in it.
    """
    rng = np.random.default_rng(4)
    homes, windows = 1000, 96
    c, r, service = (rng.integers(0, 2**64, (homes, windows, 1), dtype=np.uint64) for _ in range(3))
    keys = [os.urandom(32) for _ in range(homes)]
    chains = [KeyChain(key) for key in keys]
    sealed = [[Sealed(0, incarnation)] for incarnation in range(homes)]
    own = np.empty_like(c)

    def all_words() -> U64:
        for home in range(homes):
            own[home] = masks(chains[home], sealed[home], 0, windows, 1)
        return own

    tokens, services = r + all_words() + service, service.sum(axis=0)

    def loads() -> NDArray[np.int64]:
        return load(blinded(c, tokens, all_words()).sum(axis=0), services)

    def keystream() -> None:
        for home in range(homes):
            key = tokens_key(keys[home], home)
            cipher = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None)
            cipher.encryptor().update(bytes(8 * windows))

    if not np.array_equal(loads().view(np.uint64), (c - r).sum(axis=0)):
        raise AssertionError("the loads did not open to what was sealed")
    ours, rival = (median_s(work, 21) / homes for work in (loads, keystream))
    return Figure("load", ours * 1e6, rival * 1e6, "us/home", "bare HMAC and ChaCha20", "at most 10 us")


def _bytes() -> Iterator[Figure]:
    """A day at 1 s of a meter's four lanes in the store: chunks, head, page, one 15-minute grant with its
    tokens. And a month's tokens of one lane, folded."""
    kid, lanes = bytes(16), (*ENERGY, "power", "count")
    runs, key = [Run(1, 0, DAY)], ec.generate_private_key(ec.SECP256R1()).public_key()
    spki = es256.spki(key)

    def size(item: Descriptor | Chunk | Head | Page | Tokens | GrantObject) -> int:
        return len(cose.assemble(kid, item.payload(), bytes(64)))

    words_of = os.urandom(8 * 900)
    chunks = sum(
        size(Chunk(kid, seq, 1, seq * 900, 900, (words_of,) * len(lanes), bytes(32), 10**12))
        for seq in range(DAY // 900)
    )
    grant = example_grant("windows", 900, lanes)
    sealing = Sealing(LAYOUT, runs, lambda _incarnation: bytes(32))
    edges = range(0, DAY + 1, 900)
    sealed = sealed_by(runs, 0, edges)
    tokens = hide(window_words(grant, sealing, edges), KeyChain(bytes(32)), sealed, 0)
    fresh = sum(
        size(Tokens(kid, kid, j, token.tobytes(), ((j, 1),), commitment=bytes(32)))
        for j, token in enumerate(tokens)
    )
    day = size(Tokens(kid, kid, 0, tokens.tobytes(), tuple(sealed), commitment=bytes(32)))
    page = size(
        Page(
            kid, "1970-01-01", 60, 0, 1440, (os.urandom(8 * 1440),) * len(lanes), (bytes(32),) * 96, bytes(32)
        )
    )
    once = size(Descriptor(kid, LAYOUT, tuple(LANES[lane] for lane in lanes), 0, spki, "tpm"))
    once += size(Head(kid, 95, bytes(32), DAY, 10**12, ()))
    body = grant_body(grant)
    once += size(GrantObject(kid, body, bytes(1168)))
    total = chunks + fresh + day + page + once
    yield Figure("bytes", total / DAY / len(lanes), 8.0, "bytes/reading", "the bare u64", "8.3 bytes")
    month = 28 * len(edges[1:])
    folded = size(
        Tokens(kid, kid, 35 * month, os.urandom(8 * month), ((35 * month, 2**40),), commitment=bytes(32))
    )
    yield Figure("token_bytes", folded / month, 8.0, "bytes/window", "the bare u64", "8.2 bytes")


def _consent() -> Figure:
    """The consent check of a tenth grant, beside a bill by a year of 5-minute prices that all differ."""
    rng, begin = np.random.default_rng(4), 20_454 * DAY  # 2026-01-01
    zone, step_ms = "Europe/Berlin", 300_000
    listed = Dynamic(begin * 1000, tuple(rng.permutation(366 * DAY * 1000 // step_ms).tolist()))
    two_rates = TimeOfUse((Rule(32_150, (0, 1, 2, 3, 4), 6 * 60, 22 * 60), Rule(24_500)))
    seasons = TimeOfUse((Rule(41_000, begin=17 * 60, end=21 * 60), Rule(12_000, (5, 6)), Rule(27_300)))
    tariffs = [
        Tariff("EUR", 5, "UTC", step, {"import": prices})
        for step, prices in (
            (step_ms, listed),
            (900_000, TimeOfUse((Rule(30_000),))),
            (900_000, two_rates),
            (900_000, seasons),
        )
    ]

    def held(size: Literal["day", "month"], tariff: Tariff | None = None, zone: str = "UTC") -> Held:
        windows = Granularity(size, LAYOUT.unit_ms, zone)
        grant = replace(
            example_grant("windows", 1),
            kind="windows" if tariff is None else "bill",
            id=os.urandom(16),
            granularity=windows,
            first=windows.align_up(begin),
            tariff=None if tariff is None else bytes(32),
            quantum=None if tariff is None else cent(tariff.scale),
        )
        return Held(grant, tariff)

    grants = [
        *(held("month", tariff) for tariff in tariffs),
        *(held("day", tariff) for tariff in tariffs[2:]),
        held("day", None, zone),
        held("month", None, zone),
        held("month"),
    ]
    ours = median_s(lambda: check(grants, [held("day")]))
    return Figure("consent", ours * 1e3, 1e3, "ms", "the second that it may take", "at most 1")
