"""A TPM that is busy, gone for a moment, in others' hands or hanging: what is mended, and what is told."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

import pytest
from tpm2_pytss import TPM2_CC, TPM2_RC

from gateway.errors import TrustError
from gateway.trust.tpm import esapi
from tests.support.tpm import swtpm
from tests.trust.conftest import Roots
from tests.trust.tpm.bus import (
    ANSWER,
    KNOWN,
    MESSAGE,
    Bus,
    Execute,
    another_user,
    checked_hmac,
    checked_sign,
    failing,
    is_command,
    saying,
    use,
)


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
        (0x101, "has failed its self test .*power off and on again"),
        (0x921, "is in lockout"),
        (0x18B, "does not hold this gateway's keys"),
        (0x1DF, "does not hold this gateway's keys"),
        (0x9A2, "tampered answer"),
        (0x98E, "tampered answer"),
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
    for number in range(4):  # reads, reads again, steps, reads
        with bus.meddling(failing(range(number, number + 1), executed=executed)):
            drawn.append(await root.draw_incarnation())
        assert await root.incarnation_counter() == drawn[-1]
    assert drawn == sorted(set(drawn))


@pytest.mark.parametrize("executed", [False, True])
@pytest.mark.parametrize("times", [1, 2, 3, 99])
async def test_the_counter_is_never_more_than_one_step_beyond_what_was_noted(
    bus: Bus, roots: Roots, tmp_path: Path, executed: bool, times: int
) -> None:
    """Though a step whose answer is lost is taken again, as often as that happens."""
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    notes: list[int] = []
    lost = 0

    async def note(counter: int) -> None:
        notes.append(counter)

    def steps_lost(number: int, command: bytes, execute: Execute) -> bytes:
        nonlocal lost
        lost += is_command(command, TPM2_CC.NV_Increment)
        wanted = is_command(command, TPM2_CC.NV_Increment) and lost <= times
        return failing(range(number, number + wanted), executed=executed)(number, command, execute)

    drawn = [await root.draw_incarnation(note)]
    for _ in range(3):
        lost = 0
        with bus.meddling(steps_lost), contextlib.suppress(TrustError):
            drawn.append(await root.draw_incarnation(note))
        counter = await root.incarnation_counter()
        assert notes[-1] <= counter <= notes[-1] + 1
    assert drawn == sorted(set(drawn))
    assert all(value - 1 in notes for value in drawn)


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
