"""First use, cut off or disturbed at each of its commands in turn."""

from __future__ import annotations

from pathlib import Path

import pytest
from tpm2_pytss import ESYS_TR, TPM2_RC

from gateway.errors import TrustError
from gateway.trust.folder import FILE
from tests.support.tpm import swtpm
from tests.trust.conftest import Roots
from tests.trust.tpm.bus import KNOWN, MESSAGE, Bus, Execute, Meddler, another_user, error, failing


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
