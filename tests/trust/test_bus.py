"""Somebody sits on the wires to the TPM, or they fail: what is seen there, and what comes of changing it."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import random
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tpm2_pytss import ESYS_TR, TPM2_CC, TPM2_RC, TSS2_Exception

from gateway.errors import TrustError
from gateway.trust import esapi
from gateway.trust.folder import FILE
from gateway.trust.root import Root, open_root
from tests.tpm import manufacture, swtpm
from tests.trust.bus import IO_ERROR, Bus, Execute, Meddler, another_user, error, is_command
from tests.trust.conftest import Roots

KNOWN = bytes(range(100, 132))
MESSAGE = b"gw1/incarnation" + bytes(range(24))
ANSWER = hmac.digest(KNOWN, MESSAGE, "sha256")

TAMPERED = "tampered answer"


async def use(root: Root) -> None:
    """Everything a root does, checked as far as it can be."""
    assert await root.hmac(MESSAGE) == ANSWER
    await root.sign(b"message")  # verifies itself
    drawn = await root.draw_incarnation()
    assert await root.incarnation_counter() == drawn
    assert len(await root.random(40)) == 40


def failing(numbers: range, *, executed: bool) -> Meddler:
    """The connection breaks at these commands, before or after the TPM executed them."""

    def meddle(number: int, command: bytes, execute: Execute) -> bytes:
        if number not in numbers:
            return execute(command)
        if executed:
            execute(command)
        raise TSS2_Exception(IO_ERROR)

    return meddle


def saying(code: int, times: int) -> Meddler:
    """The TPM answers the first commands with this code."""
    return lambda number, command, execute: error(code) if number < times else execute(command)


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
@pytest.mark.parametrize("times", [1, 3, 5])
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


@pytest.mark.parametrize("code", [TPM2_RC.RETRY, TPM2_RC.TESTING, TPM2_RC.YIELDED, TPM2_RC.NV_RATE])
@pytest.mark.parametrize("times", [1, 6, 9])
async def test_a_busy_tpm_is_asked_again_later(
    bus: Bus, roots: Roots, tmp_path: Path, code: int, times: int
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    root = await roots(tmp_path, bus.transport, known=KNOWN, sleep=sleep)
    for call in (lambda: checked_hmac(root), lambda: checked_sign(root), root.draw_incarnation):
        pauses.clear()
        with bus.meddling(saying(code, times)):
            await call()
        assert pauses == sorted(pauses)
        assert all(0.05 <= pause <= 5 for pause in pauses)
    await use(root)


async def test_a_tpm_that_stays_busy_is_told(bus: Bus, roots: Roots, tmp_path: Path) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    root = await roots(tmp_path, bus.transport, known=KNOWN, sleep=sleep)
    with (
        bus.meddling(saying(TPM2_RC.RETRY, 10**6)),
        pytest.raises(TrustError, match=r"stays busy \(code 0x922\)"),
    ):
        await root.sign(b"")
    assert pauses[0] == 0.05
    assert pauses[-1] == 5
    assert pauses == sorted(pauses)
    assert 20 < sum(pauses) < 60
    await use(root)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (0x101, "has failed its self test .*power away and give it back"),
        (0x921, "is in lockout"),
        (0x18B, "does not hold this gateway's keys"),
        (0x1DF, "does not hold this gateway's keys"),
        (0x9A2, TAMPERED),
        (0x98E, TAMPERED),
        (0x1D5, "refused a command .*structure is the wrong size.*0x1d5"),
    ],
)
async def test_what_a_tpm_says_no_with_is_told_once_and_over(
    bus: Bus, roots: Roots, tmp_path: Path, code: int, sentence: str
) -> None:
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    for call in (lambda: root.hmac(MESSAGE), lambda: root.sign(b""), root.draw_incarnation):
        with bus.meddling(saying(code, 1)), pytest.raises(TrustError, match=sentence):
            await call()
    await use(root)


@pytest.mark.parametrize("code", [0x902, 0x903, 0x910, 0x918, 0x100, 0xB0902])
async def test_what_a_new_connection_mends(bus: Bus, roots: Roots, tmp_path: Path, code: int) -> None:
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    with bus.meddling(saying(code, 1)):
        assert await root.hmac(MESSAGE) == ANSWER
    await use(root)


@pytest.mark.parametrize("executed", [False, True])
async def test_a_connection_that_breaks_once_is_made_anew(
    bus: Bus, roots: Roots, tmp_path: Path, executed: bool
) -> None:
    """At each command in turn. A step of the counter whose answer is lost costs a value, and no more."""
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    drawn = [await root.draw_incarnation()]
    for call in (lambda: root.hmac(MESSAGE), lambda: root.sign(b""), root.incarnation_counter):
        with bus.meddling(failing(range(1), executed=executed)):
            await call()
    for number in range(3):  # reads, steps, reads
        with bus.meddling(failing(range(number, number + 1), executed=executed)):
            drawn.append(await root.draw_incarnation())
        assert await root.incarnation_counter() == drawn[-1]
    assert drawn == sorted(set(drawn))


async def test_a_connection_that_keeps_breaking_is_told(bus: Bus, roots: Roots, tmp_path: Path) -> None:
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    for number in range(1, 12):  # the command, and then each of those that would make a new connection

        def twice(n: int, command: bytes, execute: Execute, second: int = number) -> bytes:
            return failing(range(n, n + 1) if n in (0, second) else range(0), executed=False)(
                n, command, execute
            )

        with bus.meddling(twice), pytest.raises(TrustError, match=r"does not answer.* \(code 0xa000a\)"):
            await root.hmac(MESSAGE)
    await use(root)


async def test_another_process_that_steps_the_counter_gets_other_values(
    bus: Bus, tpm: swtpm, roots: Roots, tmp_path: Path
) -> None:
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    await root.draw_incarnation()
    theirs: list[int] = []

    def rival_first(number: int, command: bytes, execute: Execute) -> bytes:
        if is_command(command, TPM2_CC.NV_Increment) and len(theirs) < 3:
            with another_user(tpm.tcti) as rival:
                counter = rival.tr_from_tpmpublic(esapi.COUNTER_INDEX)
                rival.nv_increment(counter)
                theirs.append(int.from_bytes(bytes(rival.nv_read(counter, 8)), "big"))
        return execute(command)

    with bus.meddling(rival_first):
        ours = await root.draw_incarnation()
    assert len(theirs) == 3
    assert ours > max(theirs)
    assert await root.incarnation_counter() == ours


async def test_a_counter_that_never_stands_still_is_told(
    bus: Bus, tpm: swtpm, roots: Roots, tmp_path: Path
) -> None:
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    await root.draw_incarnation()

    def rival(number: int, command: bytes, execute: Execute) -> bytes:
        if is_command(command, TPM2_CC.NV_Increment):
            with another_user(tpm.tcti) as other:
                other.nv_increment(other.tr_from_tpmpublic(esapi.COUNTER_INDEX))
        return execute(command)

    with bus.meddling(rival), pytest.raises(TrustError, match="only one gateway may use a TPM"):
        await root.draw_incarnation()


def flipped(message: bytes, at: int) -> bytes:
    return message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]


async def checked_sign(root: Root) -> None:
    assert len(await root.sign(b"message")) == 64


async def checked_hmac(root: Root) -> None:
    assert await root.hmac(MESSAGE) == ANSWER


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
    await use_again(root)
    assert tampered > 0


async def use_again(root: Root) -> None:
    await checked_hmac(root)
    await checked_sign(root)


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
    await use_again(root)


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


async def test_a_tpm_that_hangs_is_told_to_all_who_wait(bus: Bus, roots: Roots, tmp_path: Path) -> None:
    root, owner = await roots(tmp_path, bus.transport, known=KNOWN), roots.owner
    assert owner is not None
    (stuck,) = tpm_threads()
    release = threading.Event()

    def hang(number: int, command: bytes, execute: Execute) -> bytes:
        if number == 0:
            release.wait()
        return execute(command)

    with bus.meddling(hang):
        owner.patience, patience = 0.05, owner.patience
        waiting = [root.hmac(MESSAGE), root.sign(b""), root.draw_incarnation(), root.random(1)]
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(e, TrustError) and "has not answered for 0.05 s" in str(e) for e in told)
        owner.patience = patience

        await use(root)  # on a new thread, while the other still hangs
        assert len(tpm_threads()) == 2
        release.set()  # it comes back at last, and goes
        await asyncio.to_thread(stuck.join, 60)
        assert not stuck.is_alive()
    await checked_hmac(root)


def tpm_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tpm"]


def clear(tcti: str) -> None:
    with another_user(tcti) as operator:
        operator.clear(ESYS_TR.LOCKOUT)


async def commands_of_first_use(bus: Bus, roots: Roots, folder: Path, known: bytes | None = None) -> int:
    root = await roots(folder, bus.transport, known=known)
    commands = len(bus.seen)
    await root.aclose()
    return commands


async def test_first_use_goes_on_after_one_broken_connection(
    bus: Bus, tpm: swtpm, roots: Roots, tmp_path: Path
) -> None:
    for number in range(await commands_of_first_use(bus, roots, tmp_path / "first")):
        clear(tpm.tcti)
        folder = tmp_path / str(number)
        with bus.meddling(failing(range(number, number + 1), executed=True)):
            root = await roots(folder, bus.transport)
        before = root.public_key, await root.hmac(MESSAGE)
        await root.aclose()
        root = await roots(folder, bus.transport)
        assert (root.public_key, await root.hmac(MESSAGE)) == before
        await root.aclose()


@pytest.mark.parametrize("how", ["answer lost", "power cut"])
async def test_first_use_cut_off_at_any_command_can_begin_again(
    bus: Bus, tpm: swtpm, roots: Roots, tmp_path: Path, how: str
) -> None:
    """The folder then opens, or is provisioned anew; it never needs a hand."""
    for number in range(await commands_of_first_use(bus, roots, tmp_path / "first")):
        clear(tpm.tcti)
        folder = tmp_path / str(number)
        broken = failing(range(number, 10**6), executed=how == "answer lost")

        def cut(
            n: int, command: bytes, execute: Execute, first: int = number, then: Meddler = broken
        ) -> bytes:
            if n == first and how == "power cut":
                tpm.kill()
            return then(n, command, execute)

        with bus.meddling(cut), pytest.raises(TrustError, match="does not answer"):
            await roots(folder, bus.transport)
        if how == "power cut":
            tpm.start()
        assert not folder.exists() or [file.name for file in folder.iterdir()] == [FILE]
        root = await roots(folder, bus.transport)
        await root.hmac(MESSAGE)
        await root.sign(b"message")
        assert await root.draw_incarnation() > 0
        await root.aclose()


async def test_no_forged_error_at_first_use_shows_the_root(
    bus: Bus, tpm: swtpm, roots: Roots, tmp_path: Path
) -> None:
    for number in range(await commands_of_first_use(bus, roots, tmp_path / "first", KNOWN)):
        clear(tpm.tcti)

        def forge(n: int, command: bytes, execute: Execute, at: int = number) -> bytes:
            return error(TPM2_RC.RETRY) if n == at else execute(command)

        with bus.meddling(forge):
            await (await roots(tmp_path / str(number), bus.transport, known=KNOWN)).aclose()
    assert not any(bus.saw(KNOWN[half]) for half in (slice(0, 16), slice(16, 32)))
