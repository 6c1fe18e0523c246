"""Somebody sits on the wires to the TPM: what is seen there, and what comes of changing it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tpm2_pytss import TPM2_CC, TSS2_Exception

from gateway.errors import TrustError
from gateway.trust.opening import open_root
from gateway.trust.root import Root
from gateway.trust.tpm.root import connector
from tests.support.tpm import manufacture, swtpm
from tests.trust.conftest import Roots
from tests.trust.tpm.bus import (
    ANSWER,
    KNOWN,
    MESSAGE,
    Bus,
    Execute,
    checked_hmac,
    checked_sign,
    is_command,
    saying,
    use,
)

TAMPERED = "tampered answer"


async def test_nothing_secret_crosses_the_bus_in_clear(bus: Bus, roots: Roots, tmp_path: Path) -> None:
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    signing = load_der_public_key(root.public_key)
    assert isinstance(signing, ec.EllipticCurvePublicKey)
    assert bus.saw(signing.public_numbers().x.to_bytes(32, "big"))  # so it does see what is not hidden

    link_key = await root.hmac(MESSAGE)
    assert link_key == ANSWER
    drawn = await root.random(32)
    assert not any(bus.saw(secret) for secret in (KNOWN, MESSAGE, link_key, drawn))
    for half in (slice(0, 16), slice(16, 32)):
        assert not any(bus.saw(secret[half]) for secret in (KNOWN, link_key))


@pytest.mark.parametrize("code", [0x922, 0x921, 0x101, 0x9A2, 0xB0922])
@pytest.mark.parametrize("times", [1, 5])
async def test_no_forged_error_strips_the_encryption(
    bus: Bus, roots: Roots, tmp_path: Path, code: int, times: int
) -> None:
    """Errors are not authenticated: anybody on the bus can answer with one."""

    async def hurry(seconds: float) -> None:
        pass

    root = await roots(tmp_path, bus.transport, known=KNOWN, sleep=hurry)
    for call in (
        root.draw_incarnation,
        lambda: root.sign(b""),
        root.incarnation_counter,
        lambda: root.random(9),
    ):
        with bus.meddling(saying(code, times)), contextlib.suppress(TrustError):
            await call()
        await checked_hmac(root)
        drawn = await root.random(32)
        assert not any(bus.saw(secret) for secret in (MESSAGE, ANSWER, drawn))


def test_not_even_on_the_connection_on_which_it_came(bus: Bus, tmp_path: Path) -> None:
    keys = connector(tmp_path, bus.transport, KNOWN)()
    for command in (lambda: keys.step_from(0), lambda: keys.sign(b""), lambda: keys.random(9)):
        with bus.meddling(saying(0x921, 1)), pytest.raises(TSS2_Exception):
            command()
        assert keys.hmac(MESSAGE) == ANSWER
    keys.close(orderly=True)
    assert not bus.saw(MESSAGE)
    assert not bus.saw(ANSWER)


def flipped(message: bytes, at: int) -> bytes:
    return message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]


async def checked_counter(root: Root) -> None:
    assert await root.incarnation_counter() == 1


@pytest.mark.parametrize(("call", "stride"), [(checked_hmac, 1), (checked_sign, 4), (checked_counter, 3)])
@pytest.mark.parametrize("part", ["command", "answer"])
async def test_a_changed_bit_anywhere_changes_no_result(
    bus: Bus, roots: Roots, tmp_path: Path, call: Callable[[Root], Awaitable[None]], stride: int, part: str
) -> None:
    """Wherever it is: told, or made up for on a new connection; and a change behind the header, where
    everything is authenticated, is told as tampering."""
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    assert await root.draw_incarnation() == 1
    await call(root)
    length = len(bus.seen[-1][part == "answer"])
    tampered = 0
    for at in range(0, length, stride):

        def flip(number: int, command: bytes, execute: Execute, at: int = at) -> bytes:
            if number > 0:
                return execute(command)
            return flipped(execute(command), at) if part == "answer" else execute(flipped(command, at))

        with bus.meddling(flip):
            try:
                await call(root)
            except TrustError as told:
                tampered += TAMPERED in str(told)
    await use(root)
    assert tampered > 0


async def test_garbage_is_told_and_never_more_than_that(bus: Bus, roots: Roots, tmp_path: Path) -> None:
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    dice = random.Random(1)

    def garble(number: int, command: bytes, execute: Execute) -> bytes:
        answer = bytearray(execute(command))
        if dice.random() < 0.1:
            for _ in range(dice.randrange(1, 4)):
                answer[dice.randrange(len(answer))] = dice.randrange(256)
            del answer[dice.randrange(1, len(answer) + 1) :]
        return bytes(answer)

    told = 0
    with bus.meddling(garble):
        for _ in range(150):
            try:
                await checked_hmac(root)
            except TrustError:
                told += 1
    assert 0 < told < 150
    await use(root)


async def test_whoever_plays_the_tpm_without_its_key_is_found_out(
    bus: Bus, roots: Roots, tmp_path: Path
) -> None:
    """Another TPM, and somebody on the bus who answers with the right public storage key."""
    await (await roots(tmp_path / "trust", bus.transport, known=KNOWN)).aclose()
    told = next(a for c, a in reversed(bus.seen) if is_command(c, TPM2_CC.ReadPublic))
    manufacture(tmp_path / "other")
    with swtpm(tmp_path / "other") as other:
        await (await open_root("tpm", tmp_path / "their-trust", other.tcti)).aclose()
        interposer = Bus(other.tcti)

        def lie(number: int, command: bytes, execute: Execute) -> bytes:
            return told if is_command(command, TPM2_CC.ReadPublic) else execute(command)

        with interposer.meddling(lie), pytest.raises(TrustError, match=TAMPERED):
            await roots(tmp_path / "trust", interposer.transport)
