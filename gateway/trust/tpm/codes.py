"""Return codes of the TPM (TPM 2.0 Library, part 2, 6.6) and of tpm2-tss, and what to do about each."""

from __future__ import annotations

from enum import Enum

from tpm2_pytss import TPM2_RC, TSS2_RC, TSS2_Exception


class Fault(Enum):
    """The kind of a failure, as far as it decides what happens next."""

    BUSY = "busy"
    """Try the same command again, after a pause."""
    FULL = "full"
    """No slot is free for a key, a session or a context, or a handle is gone: connect anew, after a pause."""
    NOT_READY = "not ready"
    """Its storage cannot be written or read now: try again, for minutes."""
    LOST = "lost"
    """The connection, or what the TPM held for it, is gone: connect anew and do the work again, once."""
    TAMPERED = "tampered"
    """A failed authentication that only a change between here and the TPM explains."""
    FOREIGN = "foreign"
    """The TPM does not have, or cannot load, what this gateway keeps in it."""
    LOCKOUT = "lockout"
    FAILED = "failed"
    """The TPM's own self test failed."""
    RESTART = "restart"
    """It works again once it is switched off and on."""
    REFUSED = "refused"
    """Any other refusal."""


class TpmFault(Exception):
    """A command that failed; `code` is the return code, 0 where there is none."""

    def __init__(self, fault: Fault, code: int) -> None:
        super().__init__(fault, code)
        self.fault = fault
        self.code = code


# Layers (bits 16 to 23) that pass a TPM's own code on: the TPM itself, and resource managers.
_FROM_TPM = {0x0, 0xB, 0xC}
_BUSY = {TPM2_RC.RETRY, TPM2_RC.TESTING, TPM2_RC.YIELDED, TPM2_RC.CANCELED, TPM2_RC.NV_RATE}
# Slots full of a dead connection's or another user's leftovers, or handles that a reset swept away.
_FULL = {*range(TPM2_RC.CONTEXT_GAP, TPM2_RC.OBJECT_HANDLES + 1), TPM2_RC.TOO_MANY_CONTEXTS}
_FULL |= {*range(TPM2_RC.REFERENCE_H0, TPM2_RC.REFERENCE_S6 + 1)}
_RESTART = {TPM2_RC.REBOOT, TPM2_RC.UPGRADE, TPM2_RC.NEEDS_TEST}
_FOREIGN = {TPM2_RC.HANDLE, TPM2_RC.INTEGRITY, TPM2_RC.BINDING}
_TAMPERED = {TPM2_RC.BAD_AUTH, TPM2_RC.AUTH_FAIL}


def fault(error: TSS2_Exception) -> TpmFault:
    """The fault of a failed command."""
    code = int(error.rc)
    return TpmFault(_classify(code, int(error.error)), code)


def _classify(code: int, error: int) -> Fault:
    # `error` is the code without the number of the handle, parameter or session that it refers to.
    if code == TSS2_RC.ESYS_RC_RSP_AUTH_FAILED:
        return Fault.TAMPERED
    if (code >> 16) & 0xFF not in _FROM_TPM:
        return Fault.LOST
    error &= 0xFFFF
    for kind, codes in (
        (Fault.BUSY, _BUSY),
        (Fault.FULL, _FULL),
        (Fault.NOT_READY, {TPM2_RC.NV_UNAVAILABLE}),
        (Fault.LOST, {TPM2_RC.INITIALIZE}),
        (Fault.TAMPERED, _TAMPERED),
        (Fault.FOREIGN, _FOREIGN),
        (Fault.LOCKOUT, {TPM2_RC.LOCKOUT}),
        (Fault.FAILED, {TPM2_RC.FAILURE}),
        (Fault.RESTART, _RESTART),
    ):
        if error in codes:
            return kind
    return Fault.REFUSED


_SENTENCES = {
    Fault.BUSY: "stays busy (code {code:#x}): stop whatever else uses it; the gateway tries again by itself",
    Fault.FULL: "has no room for a key or a session (code {code:#x}): stop whatever else uses it; the"
    " gateway tries again by itself",
    Fault.NOT_READY: "cannot use its storage now (code {code:#x}): a TPM in firmware may wait for a service"
    " of the system, such as tee-supplicant, to start; the gateway tries again by itself",
    Fault.LOST: "does not answer, or not as a TPM does (code {code:#x}): check that it is connected, powered"
    " and used by nothing else; the gateway tries again by itself",
    Fault.TAMPERED: "gave a tampered answer, or was given a tampered command (code {code:#x}): something"
    " between the processor and the TPM changes messages. The answer was not used. Check the wiring and who"
    " had access to the device before you trust it again",
    Fault.FOREIGN: "does not hold this gateway's keys (code {code:#x}): it was cleared, or it is another"
    " TPM, and only the TPM that made the keys can open them. Put that TPM and this disk together again; or,"
    " to begin as a new gateway, move the folder of the old root away",
    Fault.LOCKOUT: "is in lockout after wrong passwords (code {code:#x}): wait for its recovery time, or end"
    " it with `tpm2_dictionarylockout --clear-lockout`",
    Fault.FAILED: "has failed its self test (code {code:#x}): switch the device's power off and on again (a"
    " reboot is not enough); if it happens again, replace the TPM",
    Fault.RESTART: "must be started anew ({text}, code {code:#x}): end an update of its firmware, if one is"
    " under way, then switch the device's power off and on again",
    Fault.REFUSED: "refused a command ({text}, code {code:#x}): run `gateway doctor`, which checks what the"
    " TPM can do",
}


def sentence(trouble: TpmFault, tcti: str) -> str:
    """A sentence for a person: what the TPM at `tcti` did, and what to do."""
    text = str(TSS2_Exception(trouble.code)).partition(":")[2]
    what = _SENTENCES[trouble.fault].format(code=trouble.code, text=text)
    return f"the TPM at {tcti} " + what.replace(" (code 0x0)", "")
