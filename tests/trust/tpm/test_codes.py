"""Every code by which a TPM may refuse a command, and what becomes of it.

TPM 2.0 Library, part 2 (revision 1.83), 6.6.3: format 0 (RC_VER1), format 1 (RC_FMT1, each with the number of
a handle, parameter or session added), and warnings (RC_WARN).
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from tpm2_pytss import TPM2_RC

from gateway.errors import TrustError
from gateway.trust.tpm import owner as owners
from gateway.trust.tpm.codes import Fault
from tests.trust.conftest import Roots
from tests.trust.tpm.bus import ANSWER, KNOWN, MESSAGE, Bus, Execute, error, saying, use

BUSY, FULL, NOT_READY, LOST = Fault.BUSY, Fault.FULL, Fault.NOT_READY, Fault.LOST
TAMPERED, FOREIGN, LOCKOUT = Fault.TAMPERED, Fault.FOREIGN, Fault.LOCKOUT
FAILED, RESTART, REFUSED = Fault.FAILED, Fault.RESTART, Fault.REFUSED

FORMAT_0 = {
    0x100: ("INITIALIZE", LOST),
    0x101: ("FAILURE", FAILED),
    0x103: ("SEQUENCE", REFUSED),
    0x10B: ("PRIVATE", REFUSED),
    0x119: ("HMAC", REFUSED),
    0x120: ("DISABLED", REFUSED),
    0x121: ("EXCLUSIVE", REFUSED),
    0x124: ("AUTH_TYPE", REFUSED),
    0x125: ("AUTH_MISSING", REFUSED),
    0x126: ("POLICY", REFUSED),
    0x127: ("PCR", REFUSED),
    0x128: ("PCR_CHANGED", REFUSED),
    0x12D: ("UPGRADE", RESTART),
    0x12E: ("TOO_MANY_CONTEXTS", FULL),
    0x12F: ("AUTH_UNAVAILABLE", REFUSED),
    0x130: ("REBOOT", RESTART),
    0x131: ("UNBALANCED", REFUSED),
    0x142: ("COMMAND_SIZE", REFUSED),
    0x143: ("COMMAND_CODE", REFUSED),
    0x144: ("AUTHSIZE", REFUSED),
    0x145: ("AUTH_CONTEXT", REFUSED),
    0x146: ("NV_RANGE", REFUSED),
    0x147: ("NV_SIZE", REFUSED),
    0x148: ("NV_LOCKED", REFUSED),
    0x149: ("NV_AUTHORIZATION", REFUSED),
    0x14A: ("NV_UNINITIALIZED", REFUSED),
    0x14B: ("NV_SPACE", REFUSED),
    0x14C: ("NV_DEFINED", REFUSED),
    0x150: ("BAD_CONTEXT", REFUSED),
    0x151: ("CPHASH", REFUSED),
    0x152: ("PARENT", REFUSED),
    0x153: ("NEEDS_TEST", RESTART),
    0x154: ("NO_RESULT", REFUSED),
    0x155: ("SENSITIVE", REFUSED),
}
FORMAT_1 = {
    0x081: ("ASYMMETRIC", REFUSED),
    0x082: ("ATTRIBUTES", REFUSED),
    0x083: ("HASH", REFUSED),
    0x084: ("VALUE", REFUSED),
    0x085: ("HIERARCHY", REFUSED),
    0x087: ("KEY_SIZE", REFUSED),
    0x088: ("MGF", REFUSED),
    0x089: ("MODE", REFUSED),
    0x08A: ("TYPE", REFUSED),
    0x08B: ("HANDLE", FOREIGN),
    0x08C: ("KDF", REFUSED),
    0x08D: ("RANGE", REFUSED),
    0x08E: ("AUTH_FAIL", TAMPERED),
    0x08F: ("NONCE", REFUSED),
    0x090: ("PP", REFUSED),
    0x092: ("SCHEME", REFUSED),
    0x095: ("SIZE", REFUSED),
    0x096: ("SYMMETRIC", REFUSED),
    0x097: ("TAG", REFUSED),
    0x098: ("SELECTOR", REFUSED),
    0x09A: ("INSUFFICIENT", REFUSED),
    0x09B: ("SIGNATURE", REFUSED),
    0x09C: ("KEY", REFUSED),
    0x09D: ("POLICY_FAIL", REFUSED),
    0x09F: ("INTEGRITY", FOREIGN),
    0x0A0: ("TICKET", REFUSED),
    0x0A1: ("RESERVED_BITS", REFUSED),
    0x0A2: ("BAD_AUTH", TAMPERED),
    0x0A3: ("EXPIRED", REFUSED),
    0x0A4: ("POLICY_CC", REFUSED),
    0x0A5: ("BINDING", FOREIGN),
    0x0A6: ("CURVE", REFUSED),
    0x0A7: ("ECC_POINT", REFUSED),
    0x0A8: ("FW_LIMITED", REFUSED),
    0x0A9: ("SVN_LIMITED", REFUSED),
}
WARNINGS = {
    0x901: ("CONTEXT_GAP", FULL),
    0x902: ("OBJECT_MEMORY", FULL),
    0x903: ("SESSION_MEMORY", FULL),
    0x904: ("MEMORY", FULL),
    0x905: ("SESSION_HANDLES", FULL),
    0x906: ("OBJECT_HANDLES", FULL),
    0x907: ("LOCALITY", REFUSED),
    0x908: ("YIELDED", BUSY),
    0x909: ("CANCELED", BUSY),
    0x90A: ("TESTING", BUSY),
    **{0x910 + n: (f"REFERENCE_H{n}", FULL) for n in range(7)},
    **{0x918 + n: (f"REFERENCE_S{n}", FULL) for n in range(7)},
    0x920: ("NV_RATE", BUSY),
    0x921: ("LOCKOUT", LOCKOUT),
    0x922: ("RETRY", BUSY),
    0x923: ("NV_UNAVAILABLE", NOT_READY),
    0x97F: ("NOT_USED", REFUSED),
}
NUMBERED = {
    0x100: "handle 1",
    0x040: "parameter 0",
    0x140: "parameter 1",
    0x800: "session 0",
    0x900: "session 1",
}
CODES = {code: fault for table in (FORMAT_0, WARNINGS) for code, (_, fault) in table.items()} | {
    base + number: fault for base, (_, fault) in FORMAT_1.items() for number in NUMBERED
}
SENTENCES = {
    BUSY: "stays busy",
    FULL: "has no room for a key or a session",
    NOT_READY: "cannot use its storage now .*tries again by itself",
    LOST: "does not answer",
    TAMPERED: "tampered answer",
    FOREIGN: "does not hold this gateway's keys",
    LOCKOUT: "is in lockout",
    FAILED: "has failed its self test",
    RESTART: "must be started anew .*off and on again",
    REFUSED: "refused a command",
}
WAITED_S = {BUSY: (20, 60), FULL: (20, 60), NOT_READY: (240, 400)}
"""How long in all, at least and at most, it is tried again."""


def test_the_table_has_all_codes_that_tpm2_tss_knows() -> None:
    table = {name: code for part in (FORMAT_0, FORMAT_1, WARNINGS) for code, (name, _) in part.items()}
    no_codes = {"SUCCESS", "VER1", "FMT1", "WARN", "MAX_FM0", "H", "P", "S", "BAD_TAG", "A", "B", "C", "D"}
    known = {name: int(code) for name, code in vars(TPM2_RC).items() if name.isupper()}
    known = {
        name: code
        for name, code in known.items()
        if not (name in no_codes or re.fullmatch("RC[0-9A-F]|[A-F]|N_MASK", name))
    }
    assert table.items() >= known.items()


class Pauses:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def test_what_becomes_of_every_code_that_a_tpm_says_once(
    bus: Bus, roots: Roots, tmp_path: Path
) -> None:
    root = await roots(tmp_path, bus.transport, known=KNOWN, sleep=Pauses())
    for code, fault in CODES.items():
        again = fault in WAITED_S or fault is LOST
        for call in (partial(root.hmac, MESSAGE), partial(root.sign, b"message"), partial(root.random, 8)):
            with bus.meddling(saying(code, 1)):
                if again:
                    assert len(await call()) >= 8, hex(code)
                else:
                    with pytest.raises(TrustError, match=SENTENCES[fault]) as told:
                        await call()
                    assert f"code {code:#x}" in str(told.value)
                    assert root.fault == str(told.value)
        assert await root.hmac(MESSAGE) == ANSWER, hex(code)
        assert root.fault is None
    await use(root)


@pytest.mark.parametrize("code", [code for code, fault in CODES.items() if fault in WAITED_S])
async def test_what_passes_is_waited_out_and_has_an_end(
    bus: Bus, roots: Roots, tmp_path: Path, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As a gateway that is starting, and as one that runs."""
    pauses, fault = Pauses(), CODES[code]
    least, most = WAITED_S[fault]
    root = await roots(tmp_path, bus.transport, known=KNOWN, sleep=pauses)
    with bus.meddling(saying(code, 10**6)), pytest.raises(TrustError, match=SENTENCES[fault]) as told:
        await root.draw_incarnation()
    assert least <= sum(pauses.seconds) <= most
    assert pauses.seconds == sorted(pauses.seconds)
    assert root.fault == str(told.value)
    assert caplog.messages.count(str(told.value)) == 1  # not one for each try
    await use(root)
    with bus.meddling(saying(code, 9)):
        another = await roots(tmp_path, bus.transport, known=KNOWN, sleep=Pauses())
    assert another.fault is None
    await use(another)


@pytest.mark.parametrize("command", range(12))
async def test_storage_that_is_away_at_any_command_of_a_start_ends_no_start(
    bus: Bus, roots: Roots, tmp_path: Path, command: int
) -> None:
    """At first use too, when keys are made, and in the step of the counter."""
    pauses, left = Pauses(), 8

    def away(number: int, sent: bytes, execute: Execute) -> bytes:
        nonlocal left
        if number < command or not left:
            return execute(sent)
        left -= 1
        return error(TPM2_RC.NV_UNAVAILABLE)

    with bus.meddling(away):
        root = await roots(tmp_path / "folder", bus.transport, known=KNOWN, sleep=pauses)
        drawn = await root.draw_incarnation()
    assert await root.incarnation_counter() == drawn
    assert len(pauses.seconds) == 8
    await use(root)


async def test_a_tpm_that_is_silent_is_told_before_and_after_it_is_given_up(
    bus: Bus, roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    owner, seen = roots.owner, []
    assert owner is not None
    monkeypatch.setattr(owners, "_SILENT_S", 0.0)

    def silent(number: int, command: bytes, execute: Execute) -> bytes:
        seen.append(root.fault)
        return execute(command)

    with bus.meddling(silent):
        await root.sign(b"")
    assert all(told is not None and "has not answered for " in told for told in seen)
    assert root.fault is None
