"""The release gate on a real TPM: which releases open the root, and what everybody else is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_CC,
    TPM2_EO,
    TPM2_RC,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TSS2_Exception,
)

from gateway.errors import TrustError, UntrustedRelease
from gateway.trust import policy
from gateway.trust.folder import FILE
from gateway.trust.gate import Gate, approve
from gateway.trust.tpm import gate as gates
from gateway.trust.tpm.esapi import SRK_HANDLE, Context
from gateway.trust.tpm.provision import TpmIdentity
from gateway.trust.tpm.transport import locate
from gateway.wire.approval import Approval
from tests.support.released import Maker, extend
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
    error,
    failing,
    is_command,
    use,
)

OTHER = "PCR 14 shows other software than the release that is approved"
OLD = r"has epoch 5, and this machine has accepted none below 6"


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "boot")


class Machine:
    """A machine that boots releases of `maker`, with a root that a test knows."""

    def __init__(self, tpm: swtpm, bus: Bus, roots: Roots, maker: Maker, folder: Path) -> None:
        self.tpm, self.bus, self.maker, self.folder = tpm, bus, maker, folder
        self._roots = roots

    async def opens(self) -> None:
        """The root opens, and everything of it works."""
        await use(root := await self.root())
        await root.aclose()

    async def root(self, gate: Gate | None = None) -> Any:
        return await self._roots(self.folder, self.bus.transport, known=KNOWN, gate=gate or self.maker.gate)

    async def refuses(self, sentence: str, gate: Gate | None = None) -> None:
        before = self.kept()
        with pytest.raises(UntrustedRelease, match=sentence):
            await self.root(gate)
        assert self.kept() == before

    def kept(self) -> bytes | None:
        file = self.folder / FILE
        return file.read_bytes() if file.exists() else None

    def confirm(self) -> int:
        with context(self.tpm) as opened:
            return gates.raise_min_epoch(opened, self.maker.gate)

    def min_epoch(self) -> int | None:
        with context(self.tpm) as opened:
            return gates.min_epoch(opened, self.maker.gate.key)


@pytest.fixture
def machine(tpm: swtpm, bus: Bus, roots: Roots, maker: Maker, tmp_path: Path) -> Machine:
    return Machine(tpm, bus, roots, maker, tmp_path / "trust")


@contextmanager
def context(tpm: swtpm) -> Iterator[Context]:
    with closing(Context(locate(tpm.tcti))) as opened:
        opened.flush_leftovers()
        yield opened


async def test_each_approved_release_opens_the_same_root(machine: Machine) -> None:
    """Of the same epoch or a newer one, in any order, over power cycles; nothing is made anew."""
    machine.maker.boot(machine.tpm, "one")
    await machine.opens()
    kept = machine.kept()
    for name, epoch in (("two", 5), ("three", 6), ("one", 5)):
        machine.maker.boot(machine.tpm, name, epoch)
        await machine.opens()
    assert machine.kept() == kept
    assert machine.min_epoch() == 5


async def test_other_software_is_refused(machine: Machine) -> None:
    machine.maker.boot(machine.tpm, "one")
    await machine.opens()
    machine.tpm.power_cycle()
    await machine.refuses("was not measured at this boot")
    extend(machine.tpm.tcti, bytes(32))
    await machine.refuses(OTHER)
    machine.maker.boot(machine.tpm, "one")
    extend(machine.tpm.tcti, machine.maker.bring("one"))  # once more than at the boot
    await machine.refuses(OTHER)
    machine.maker.boot(machine.tpm, "two")
    machine.maker.bring("one")  # the approval of the release before
    await machine.refuses(OTHER)
    machine.maker.gate.approval.unlink()
    await machine.refuses("this release has no approval")
    machine.maker.gate.approval.write_bytes(b"\xa0")
    await machine.refuses("approval is damaged.*approval.cbor: type is missing")
    machine.maker.boot(machine.tpm, "two")
    await machine.opens()


async def test_software_that_changes_while_the_gateway_runs_is_refused(machine: Machine) -> None:
    machine.maker.boot(machine.tpm, "one")
    root = await machine.root()
    await checked_hmac(root)
    extend(machine.tpm.tcti, bytes(32))
    for _ in range(2):
        with pytest.raises(UntrustedRelease, match=OTHER) as told:
            await root.hmac(MESSAGE)
        assert root.fault == str(told.value)
    machine.maker.boot(machine.tpm, "one")
    await checked_hmac(root)
    assert root.fault is None


async def test_a_revoked_epoch_is_refused(machine: Machine) -> None:
    machine.maker.boot(machine.tpm, "one", 5)
    await machine.opens()
    machine.maker.boot(machine.tpm, "two", 6)
    await machine.opens()
    machine.maker.boot(machine.tpm, "one", 5)  # two has not proved itself: one may come back
    await machine.opens()
    machine.maker.boot(machine.tpm, "two", 6)
    assert machine.confirm() == 6
    await machine.opens()
    machine.maker.boot(machine.tpm, "one", 5)
    await machine.refuses(OLD)
    assert machine.confirm() == 6  # what is refused cannot lower it
    machine.maker.boot(machine.tpm, "three", 6)
    await machine.opens()


def changed(approval: Approval, which: str) -> Approval:
    signature = bytearray(getattr(approval, which))
    signature[40] ^= 1
    changes: Any = {which: bytes(signature)}
    return replace(approval, **changes)


async def test_a_forged_approval_is_refused(machine: Machine) -> None:
    machine.maker.boot(machine.tpm, "one")
    await machine.opens()
    gate, release = machine.maker.gate, machine.maker.bring("one")
    approval = approve(machine.maker.key, release, 5)
    stranger = Maker(machine.folder.parent / "stranger", 8)
    forged = [changed(approval, which) for which in ("opens", "begins", "raises")]
    forged += [replace(approval, epoch=6), replace(approval, release=bytes(32))]
    forged += [approve(stranger.key, release, 5)]
    for one in forged:
        gate.approval.write_bytes(one.encode())
        await machine.refuses("is not signed by this machine's approval key")


async def test_the_tpm_itself_refuses_a_forged_approval(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the software believes."""
    machine.maker.boot(machine.tpm, "one")
    await machine.opens()
    release = machine.maker.bring("one")
    monkeypatch.setattr(Gate, "signed", lambda gate, approval: True)
    stranger = ec.derive_private_key(8, ec.SECP256R1())
    for forged in (changed(approve(machine.maker.key, release, 5), "opens"), approve(stranger, release, 5)):
        machine.maker.gate.approval.write_bytes(forged.encode())
        with pytest.raises(TrustError, match="code 0x2db"):  # TPM_RC_SIGNATURE
            await machine.root()
    # the stranger's approval under the stranger's key: the root does not know that key
    theirs = Gate(stranger.public_key(), machine.maker.gate.approval)
    await machine.refuses("was made for releases of another maker", theirs)
    real, ours = policy.authorized, machine.maker.gate.key
    monkeypatch.setattr(policy, "authorized", lambda key, ref: real(ours, ref))
    theirs.approval.write_bytes(approve(stranger, release, 5).encode())
    root = await machine.root(theirs)
    with pytest.raises(UntrustedRelease, match=r"TPM refuses the root .*code 0x99d"):
        await root.hmac(MESSAGE)


async def test_no_password_uses_the_root_in_place_of_the_policy(machine: Machine) -> None:
    """Whatever runs on the machine: the root's blobs and the TPM are not enough."""
    machine.maker.boot(machine.tpm, "one")
    await machine.opens()
    identity = TpmIdentity.load(machine.folder)
    assert identity is not None
    private, _ = TPM2B_PRIVATE.unmarshal(identity.root_private)
    public, _ = TPM2B_PUBLIC.unmarshal(identity.root_public)
    assert identity.root_policy == policy.authorized(machine.maker.gate.key, policy.RELEASE_REF)
    with another_user(machine.tpm.tcti) as stranger:
        root = stranger.load(stranger.tr_from_tpmpublic(SRK_HANDLE), private, public)
        for password in (b"", b"gateway"):
            stranger.tr_set_auth(root, password)
            with pytest.raises(TSS2_Exception) as told:
                stranger.hmac(root, MESSAGE, TPM2_ALG.SHA256)
            assert told.value.rc == TPM2_RC.AUTH_UNAVAILABLE
        stranger.flush_context(root)


async def test_min_epoch_never_falls(machine: Machine) -> None:
    """By no approval, no other value under an approval, and not without one."""
    maker, key = machine.maker, machine.maker.gate.key
    maker.boot(machine.tpm, "one", 5)
    await machine.opens()
    old = Approval.decode(maker.gate.approval.read_bytes(), "it")
    maker.boot(machine.tpm, "two", 7)
    assert machine.confirm() == 7

    def refused(code: int, attempt: Callable[[Context], object]) -> None:
        with context(machine.tpm) as opened:
            with pytest.raises(TSS2_Exception) as told:
                attempt(opened)
            assert int(told.value.rc) == code
            assert gates.min_epoch(opened, key) == 7

    def other_epoch(opened: Context) -> None:
        """The policy of one epoch, and a write of another."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gates, "_check_epoch", checked)
            patch.setattr(gates, "_bytes", lambda epoch: bytes([0] * 7 + [9]))
            gates._write(opened, key, approve(maker.key, bytes(32), 7), raising=True)

    real = gates._bytes

    def checked(opened: Context, index: ESYS_TR, session: ESYS_TR, epoch: int) -> None:
        opened.esapi.policy_nv(index, index, session, real(epoch), TPM2_EO.UNSIGNED_LE)

    def written(by: ESYS_TR | None) -> Callable[[Context], object]:
        def write(opened: Context) -> None:
            handle = opened.esapi.tr_from_tpmpublic(policy.MIN_EPOCH_INDEX)
            opened.esapi.nv_write(handle, bytes(8), 0, handle if by is None else by)

        return write

    refused(TPM2_RC.POLICY, lambda opened: gates._write(opened, key, old, raising=True))
    refused(0x99D, lambda opened: gates._write(opened, key, old, raising=False))
    refused(0x99D, other_epoch)
    refused(TPM2_RC.AUTH_UNAVAILABLE, written(None))
    refused(TPM2_RC.NV_AUTHORIZATION, written(ESYS_TR.OWNER))


async def test_only_the_release_that_runs_is_confirmed(machine: Machine) -> None:
    """Not one whose approval lies there: it would close the root to the one that runs."""
    machine.maker.boot(machine.tpm, "one", 5)
    await machine.opens()
    machine.maker.bring("two", 6)
    with pytest.raises(UntrustedRelease, match=OTHER):
        machine.confirm()
    assert machine.min_epoch() == 5


async def test_a_deleted_min_epoch_closes_the_root_until_somebody_confirms(machine: Machine) -> None:
    machine.maker.boot(machine.tpm, "one", 5)
    await machine.opens()
    with another_user(machine.tpm.tcti) as operator:
        operator.nv_undefine_space(operator.tr_from_tpmpublic(policy.MIN_EPOCH_INDEX))
    await machine.refuses("index 0x01800101.* was deleted.*gateway release confirm")
    assert machine.confirm() == 5
    await machine.opens()


async def test_a_root_without_a_gate_stays_without(machine: Machine, roots: Roots) -> None:
    root = await roots(machine.folder, machine.bus.transport, known=KNOWN)
    await root.aclose()
    await machine.opens()  # on an image, and not measured
    assert machine.min_epoch() is None


async def test_a_root_with_a_gate_needs_the_approval_key(machine: Machine, roots: Roots) -> None:
    machine.maker.boot(machine.tpm, "one")
    await machine.opens()
    with pytest.raises(UntrustedRelease, match=r"has no approval key \(/usr/lib/gateway/approval.pub.pem\)"):
        await roots(machine.folder, machine.bus.transport)


async def test_first_use_under_an_unapproved_release_makes_nothing(machine: Machine) -> None:
    extend(machine.tpm.tcti, bytes(32))
    await machine.refuses("this release has no approval")
    machine.maker.bring("one")
    await machine.refuses(OTHER)
    assert machine.kept() is None
    machine.maker.boot(machine.tpm, "one")
    await machine.opens()


async def test_a_refusal_steps_no_counter(machine: Machine) -> None:
    machine.maker.boot(machine.tpm, "one")
    root = await machine.root()
    drawn = await root.draw_incarnation()
    extend(machine.tpm.tcti, bytes(32))
    await root.aclose()
    machine.bus.seen.clear()
    await machine.refuses(OTHER)
    assert not any(is_command(command, TPM2_CC.NV_Increment) for command, _ in machine.bus.seen)
    machine.maker.boot(machine.tpm, "one")
    assert await (await machine.root()).incarnation_counter() == drawn


async def test_registration_works_beside_the_gate_in_three_slots(machine: Machine) -> None:
    """Evidence and the answer to a challenge take the root's slot for a moment."""
    machine.maker.boot(machine.tpm, "one")
    root = await machine.root()
    assert (await root.evidence()).signing_public
    with pytest.raises(Exception, match="challenge was not made for this TPM"):
        await root.activate(b"", b"")
    await use(root)


async def test_what_the_gate_costs(machine: Machine, roots: Roots) -> None:
    """Ten commands at each start, and four at each use of the root; a signature costs no more."""

    async def counted(gate: Gate | None, folder: Path) -> tuple[int, int, int]:
        await (await roots(folder, machine.bus.transport, known=KNOWN, gate=gate)).aclose()
        counts = []
        machine.bus.seen.clear()
        root = await roots(folder, machine.bus.transport, known=KNOWN, gate=gate)
        for call in (None, root.hmac, root.sign):
            if call is not None:
                await call(MESSAGE)
            counts.append(len(machine.bus.seen))
            machine.bus.seen.clear()
        await root.aclose()
        return counts[0], counts[1], counts[2]

    plain = await counted(None, machine.folder.with_name("plain"))
    machine.maker.boot(machine.tpm, "one")
    gated = await counted(machine.maker.gate, machine.folder)
    assert [more - less for more, less in zip(gated, plain, strict=True)] == [10, 4, 0]
    assert gated[1] == 5


@pytest.mark.parametrize(("times", "opens"), [(1, True), (2, True), (3, False)])
async def test_a_pcr_that_changes_meanwhile_has_the_policy_checked_again(
    machine: Machine, times: int, opens: bool
) -> None:
    """Also one that the gate does not look at, such as the kernel's own, PCR 10."""
    machine.maker.boot(machine.tpm, "one")
    root, left = await machine.root(), times

    def meanwhile(number: int, command: bytes, execute: Execute) -> bytes:
        nonlocal left
        if is_command(command, TPM2_CC.HMAC) and left:
            left -= 1
            extend(machine.tpm.tcti, bytes(32), pcr=10)
        return execute(command)

    with machine.bus.meddling(meanwhile):
        if opens:
            await checked_hmac(root)
        else:
            with pytest.raises(TrustError, match="code 0x128"):
                await root.hmac(MESSAGE)
    await use(root)


@pytest.mark.parametrize("executed", [False, True])
async def test_a_connection_that_breaks_at_any_command_of_the_gate_is_made_anew(
    machine: Machine, executed: bool
) -> None:
    machine.maker.boot(machine.tpm, "one")
    root = await machine.root()
    for number in range(5):
        with machine.bus.meddling(failing(range(number, number + 1), executed=executed)):
            await checked_hmac(root)
    await root.aclose()
    machine.bus.seen.clear()
    await (await machine.root()).aclose()
    for number in range(len(machine.bus.seen)):
        with machine.bus.meddling(failing(range(number, number + 1), executed=executed)):
            root = await machine.root()
        await checked_hmac(root)
        await root.aclose()


@pytest.mark.parametrize("executed", [False, True])
async def test_an_epoch_is_raised_over_any_broken_connection(machine: Machine, executed: bool) -> None:
    machine.maker.boot(machine.tpm, "one", 1)
    await machine.opens()
    for number in range(14):
        machine.maker.bring("one", 2 + number)
        broken = failing(range(number, number + 1), executed=executed)
        with (
            machine.bus.meddling(broken),
            suppress(TSS2_Exception),
            closing(Context(machine.bus.transport)) as opened,
        ):
            gates.raise_min_epoch(opened, machine.maker.gate)
        assert machine.min_epoch() in (1 + number, 2 + number)
        assert machine.confirm() == 2 + number


async def test_first_use_with_a_gate_cut_off_at_any_command_can_begin_again(
    machine: Machine, tmp_path: Path, roots: Roots
) -> None:
    """By a loss of power: the folder then opens, or is provisioned anew; it never needs a hand."""
    machine.maker.boot(machine.tpm, "one")
    root = await machine.root()
    commands = len(machine.bus.seen)
    await root.aclose()
    for number in range(0, commands, 2):
        with another_user(machine.tpm.tcti) as operator:
            operator.clear(ESYS_TR.LOCKOUT)
        folder = tmp_path / f"cut-{number}"

        def cut(n: int, command: bytes, execute: Execute, first: int = number) -> bytes:
            if n == first:
                machine.tpm.kill()
            return failing(range(first, 10**6), executed=False)(n, command, execute)

        with machine.bus.meddling(cut), pytest.raises(TrustError, match="does not answer"):
            await roots(folder, machine.bus.transport, gate=machine.maker.gate)
        machine.tpm.start()
        extend(machine.tpm.tcti, machine.maker.bring("one"))
        assert not folder.exists() or [file.name for file in folder.iterdir()] == [FILE]
        root = await roots(folder, machine.bus.transport, gate=machine.maker.gate)
        await root.hmac(MESSAGE)
        assert await root.draw_incarnation() > 0
        await root.aclose()


async def test_no_forged_error_shows_an_answer_or_the_root(
    machine: Machine, roots: Roots, tmp_path: Path
) -> None:
    machine.maker.boot(machine.tpm, "one")
    root = await machine.root()
    for number in range(6):

        def forge(n: int, command: bytes, execute: Execute, at: int = number) -> bytes:
            return error(TPM2_RC.RETRY) if n == at else execute(command)

        with machine.bus.meddling(forge):
            await checked_hmac(root)
    assert not machine.bus.saw(ANSWER[:16])
    assert not machine.bus.saw(KNOWN[:16])
