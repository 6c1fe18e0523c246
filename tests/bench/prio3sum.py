"""A home's window in a load, beside a report of Prio3Sum: `python -m tests.bench.prio3sum`, with cargo.

Both hide one number of a home from two parties who learn a sum over many homes. The crate `prio` is built in
a temporary folder. Each side runs on one thread, one after the other, and of many rounds the fastest counts,
so that other work matters little. Prio3Sum also proves that a measurement is in its range, where this scheme
trusts a signed gateway: so there is a figure with the signatures, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.bench.figure import machine
from gateway.chain import share
from gateway.chain.issue import hide
from gateway.chain.keys import KeyChain, link_key
from gateway.chain.seal import U64, seal, words
from gateway.chain.token import Sealed, masks

PRIO = "0.18.1"
BITS = (24, 32)
"""24 bits of mWh are 67 kW for a quarter of an hour."""
WINDOWS = 96
_HOMES, _ROUNDS = 20, 200
_SIGNED = 3  # a chunk, its tokens, the head
_VERIFIED = 5  # these by the centre, tokens and head by the service
_RUST = Path(__file__).with_suffix(".rs")
_CARGO_TOML = f"""\
[package]
name = "prio3sum"
version = "0.1.0"
edition = "2021"

[dependencies]
prio = "={PRIO}"
"""


def window_s(windows: int) -> float:
    """The time in s of a home's window, of one lane and one unit, where so many come at once: sealed and its
    token hidden by the gateway, its part made by the centre, its word by the service, and both added."""
    rng = np.random.default_rng(3)
    d = rng.integers(0, 2**20, (_HOMES, windows), dtype=np.uint64)
    keys = [[os.urandom(32) for _ in range(3)] for _ in range(_HOMES)]
    chains = [tuple(KeyChain(key) for key in some[1:]) for some in keys]
    sealed = [Sealed(0, 1)]
    found = np.zeros(windows, dtype=np.uint64)

    def work() -> None:
        parts, service = (np.zeros((windows, 1), dtype=np.uint64) for _ in range(2))
        for home in range(_HOMES):
            c, tokens = _published(keys[home][0], chains[home], d[home], sealed)
            parts += share.blinded(c, tokens, masks(chains[home][0], sealed, 0, windows, 1))
            service += masks(chains[home][1], sealed, 0, windows, 1)
        found[:] = share.load(parts, service)[:, 0].view(np.uint64)

    spent = _fastest_s(work) / (_HOMES * windows)
    if not np.array_equal(found, d.sum(axis=0, dtype=np.uint64)):
        raise AssertionError("the load is not the truth")
    return spent


def _published(key: bytes, chains: tuple[KeyChain, ...], d: U64, sealed: list[Sealed]) -> tuple[U64, U64]:
    """The gateway's work: ciphertexts and tokens, [window, 1]."""
    centre, service = chains
    w = words(link_key(key, 0, "import"), len(d))
    c, nonces = seal(w, 0, d), w[:-1] - w[1:]
    return c[:, None], hide(nonces[:, None], service, sealed, 0, centre)


def signatures_s() -> float:
    """The time in s of the signatures of a chunk with its tokens and the head, made and verified."""
    key, message, algorithm = ec.generate_private_key(ec.SECP256R1()), bytes(500), ec.ECDSA(hashes.SHA256())
    made = key.sign(message, algorithm)
    each: tuple[tuple[int, Callable[[], object]], ...] = (
        (_SIGNED, lambda: key.sign(message, algorithm)),
        (_VERIFIED, lambda: key.public_key().verify(made, message, algorithm)),
    )
    return sum(count * _fastest_s(work) for count, work in each)


def _fastest_s(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def prio3sum(folder: Path) -> list[list[float]]:
    """For each of BITS: bits, the us of sharding, verification and aggregation of a report, and its bytes."""
    (folder / "src").mkdir()
    (folder / "Cargo.toml").write_text(_CARGO_TOML)
    (folder / "src" / "main.rs").write_bytes(_RUST.read_bytes())
    run = ["cargo", "run", "--quiet", "--release", "--", *map(str, BITS)]
    done = subprocess.run(run, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return [[float(cell) for cell in line.split()] for line in done.stdout.splitlines()]


def main() -> None:
    """Measure both sides, and print each and the ratio."""
    if shutil.which("cargo") is None:
        sys.exit("cargo is missing: install Rust 1.89 or later")
    rustc = subprocess.run(
        ["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    print(", ".join(f"{name} {value}" for name, value in machine().items()), f"prio {PRIO}", rustc, sep=", ")
    with tempfile.TemporaryDirectory() as folder:
        reports = prio3sum(Path(folder))
    ours = {
        "a day of windows at once": window_s(WINDOWS) * 1e6,
        "a window alone": window_s(1) * 1e6,
    }
    ours["a window alone, with its objects' signatures"] = ours["a window alone"] + signatures_s() * 1e6
    for bits, shard, verify, aggregate, size in reports:
        whole = shard + verify + aggregate
        print(
            f"Prio3Sum of {bits:.0f} bits: {whole:.1f} us, of which {shard:.1f} to shard, {verify:.1f} to"
            f" verify and {aggregate:.3f} to aggregate at both aggregators together; {size:.0f} bytes"
        )
        for what, us in ours.items():
            print(f"  here, {what}: {us:.3g} us, {us / whole:.2g} of it")


if __name__ == "__main__":
    main()
