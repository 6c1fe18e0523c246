"""A TPM's evidence for a registrar, and its answer to the registrar's challenge, on the gateway's side."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import astuple, replace
from pathlib import Path

import pytest
from tpm2_pytss import ESYS_TR, TPM2_CAP, TPM2_CC, TPM2_RC, TPM2B_PUBLIC, utils

from gateway.errors import GatewayError, Refused, TrustError
from gateway.registry.evidence import Evidence
from gateway.trust.folder import FILE
from gateway.trust.opening import open_root
from gateway.trust.root import Root
from gateway.trust.tpm.transport import locate
from tests.support.endorsed import P256_INDEX, RSA_INDEX, certify_p256, put_certificate
from tests.support.tpm import manufacture, swtpm
from tests.trust.conftest import Roots
from tests.trust.tpm.bus import (
    KNOWN,
    Bus,
    Execute,
    another_user,
    checked_hmac,
    failing,
    is_command,
    saying,
    use,
)

SECRET = bytes(range(200, 232))
FOREIGN = "challenge was not made for this TPM, or was changed on its way: register again"


def challenge(evidence: Evidence, secret: bytes = SECRET) -> tuple[bytes, bytes]:
    """As a registrar makes one for the TPM that the evidence names."""
    ek, _ = TPM2B_PUBLIC.unmarshal(evidence.ek_public)
    ak, _ = TPM2B_PUBLIC.unmarshal(evidence.ak_public)
    blob, seed = utils.make_credential(ek, secret, ak.get_name())
    return blob.marshal(), seed.marshal()


async def checked_evidence(root: Root) -> Evidence:
    evidence = await root.evidence()
    assert evidence is not None
    return evidence


async def register(root: Root) -> Evidence:
    evidence = await checked_evidence(root)
    assert await root.activate(*challenge(evidence)) == SECRET
    return evidence


def keys(evidence: Evidence) -> tuple[bytes | tuple[bytes, ...], ...]:
    """All but the certification, which has the TPM's clock and a fresh signature."""
    return astuple(evidence)[:4]


def loaded(tcti: str) -> tuple[int, int]:
    """How many keys and sessions are in the TPM's slots."""
    with another_user(tcti) as esapi:
        counts = []
        for first in (0x80000000, 0x02000000):
            _, capability = esapi.get_capability(TPM2_CAP.HANDLES, first, 64)
            listed = capability.data
            counts.append(len(list(listed.handles)))
    return counts[0], counts[1]


async def test_a_software_root_has_no_evidence(tmp_path: Path) -> None:
    root = await open_root("software", tmp_path, "device:/dev/null")
    assert await root.evidence() is None
    with pytest.raises(GatewayError, match="software root cannot answer a challenge"):
        await root.activate(b"", b"")
    await root.aclose()
    with pytest.raises(TrustError, match="was closed"):
        await root.evidence()


@pytest.mark.parametrize("key", ["RSA", "P-256"])
async def test_the_keys_are_the_same_each_time(tpm: swtpm, tmp_path: Path, key: str) -> None:
    """Over power cuts and openings too. An identity's file knows nothing of them, and stays as it is."""
    if key == "P-256":
        certify_p256(tpm.tcti)
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    kept = (tmp_path / "trust" / FILE).read_bytes()
    before = await register(root)
    assert (len(before.ek_public) > 200) == (key == "RSA")
    for interrupt in (tpm.power_cycle, tpm.kill, tpm.reset):
        given = challenge(before)
        interrupt()
        if interrupt == tpm.kill:
            tpm.start()
        assert await root.activate(*given) == SECRET  # the steps of a registration may be days apart
        assert keys(await register(root)) == keys(before)
        await root.aclose()
        root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
        assert keys(await register(root)) == keys(before)
    assert (tmp_path / "trust" / FILE).read_bytes() == kept
    await root.aclose()


async def test_a_certificate_is_given_without_what_fills_its_index(tpm: swtpm, tmp_path: Path) -> None:
    certificate = certify_p256(tpm.tcti, padding=bytes(100))
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    assert (await checked_evidence(root)).ek_certificates == (certificate,)
    put_certificate(tpm.tcti, P256_INDEX, b"no certificate")  # for the registrar to refuse
    assert (await checked_evidence(root)).ek_certificates == (b"no certificate",)
    await root.aclose()


async def test_without_a_certificate_there_is_evidence_all_the_same(tpm: swtpm, tmp_path: Path) -> None:
    """Whether that is enough, the registrar says."""
    put_certificate(tpm.tcti, RSA_INDEX, None)
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    assert (await register(root)).ek_certificates == ()
    await root.aclose()


async def test_nothing_is_left_in_the_slots(tpm: swtpm, tmp_path: Path) -> None:
    """Of three for keys, the root and the signing key have two; of three for sessions, one is taken."""
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    for _ in range(4):
        evidence = await register(root)
        assert loaded(tpm.tcti) == (2, 1)
    blob, seed = challenge(evidence)
    for _ in range(4):
        with pytest.raises(Refused):
            await root.activate(blob, seed[:-1] + bytes([seed[-1] ^ 1]))
        await root.sign(b"message")
        assert loaded(tpm.tcti) == (2, 1)
    await root.aclose()
    assert loaded(tpm.tcti) == (0, 0)


async def test_many_at_once(tpm: swtpm, roots: Roots, tmp_path: Path) -> None:
    root = await roots(tmp_path, locate(tpm.tcti), known=KNOWN)
    await asyncio.gather(*(call(root) for call in (register, checked_hmac, use) for _ in range(3)))


@pytest.mark.parametrize("key", ["RSA", "P-256"])
async def test_the_secret_is_never_on_the_bus(
    bus: Bus, tpm: swtpm, roots: Roots, tmp_path: Path, key: str
) -> None:
    if key == "P-256":
        certify_p256(tpm.tcti)
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    await register(root)
    assert any(is_command(command, TPM2_CC.ActivateCredential) for command, _ in bus.seen)
    assert not bus.saw(SECRET)
    assert not bus.saw(KNOWN)


@pytest.mark.parametrize("key", ["RSA", "P-256"])
async def test_a_challenge_to_another_tpm_is_refused(
    tpm: swtpm, roots: Roots, tmp_path: Path, key: str
) -> None:
    manufacture(tmp_path / "other")
    with swtpm(tmp_path / "other") as second:
        if key == "P-256":
            certify_p256(tpm.tcti)
            certify_p256(second.tcti)
        one = await roots(tmp_path / "trust", locate(tpm.tcti), known=KNOWN)
        two = await roots(tmp_path / "trust2", locate(second.tcti), known=KNOWN)
        evidence, others = await register(one), await register(two)
        swapped = replace(evidence, ak_public=others.ak_public)
        for foreign in (others, swapped):  # another endorsement key; another attestation key
            with pytest.raises(Refused, match=FOREIGN):
                await one.activate(*challenge(foreign))
            await use(one)


@pytest.mark.parametrize("key", ["RSA", "P-256"])
async def test_a_changed_challenge_is_refused(tpm: swtpm, roots: Roots, tmp_path: Path, key: str) -> None:
    """Any changed byte, anything cut short or too long; and then the TPM goes on as before."""
    if key == "P-256":
        certify_p256(tpm.tcti)
    root = await roots(tmp_path, locate(tpm.tcti), known=KNOWN)
    blob, seed = challenge(await checked_evidence(root))
    changed = [(b"", b""), (blob, b""), (b"", seed), (seed, blob), (blob + b"\0", seed), (blob, seed + b"\0")]
    changed += [(blob[:-1], seed), (blob, seed[:-1]), (bytes(1000), seed), (blob, b"\xff" * 400)]
    for at in range(0, len(blob), 7):
        changed.append((blob[:at] + bytes([blob[at] ^ 0x10]) + blob[at + 1 :], seed))
    for at in range(0, len(seed), 31):
        changed.append((blob, seed[:at] + bytes([seed[at] ^ 0x10]) + seed[at + 1 :]))
    for pair in changed:
        with pytest.raises(Refused, match=FOREIGN):
            await root.activate(*pair)
    assert await root.activate(blob, seed) == SECRET
    await use(root)


async def commands_of(bus: Bus, call: Callable[[], Awaitable[object]]) -> int:
    before = len(bus.seen)
    await call()
    return len(bus.seen) - before


@pytest.mark.parametrize("executed", [False, True])
async def test_a_connection_that_breaks_once_is_made_anew(
    bus: Bus, roots: Roots, tmp_path: Path, executed: bool
) -> None:
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    before = await register(root)
    given = challenge(before)
    for call in (lambda: checked_evidence(root), lambda: root.activate(*given)):
        for number in range(await commands_of(bus, call)):
            with bus.meddling(failing(range(number, number + 1), executed=executed)):
                answer = await call()
            assert answer == SECRET if isinstance(answer, bytes) else keys(answer) == keys(before)
    await use(root)


async def test_power_may_be_cut_at_any_command(bus: Bus, tpm: swtpm, roots: Roots, tmp_path: Path) -> None:
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    before = await register(root)
    given = challenge(before)
    for call in (lambda: checked_evidence(root), lambda: root.activate(*given)):
        for number in range(await commands_of(bus, call)):
            broken = failing(range(number, 10**6), executed=False)

            def cut(n: int, command: bytes, execute: Execute, first: int = number) -> bytes:
                if n == first:
                    tpm.kill()
                return broken(n, command, execute)  # noqa: B023 - used within this turn

            with bus.meddling(cut), pytest.raises(TrustError, match="does not answer"):
                await call()
            tpm.start()
            answer = await call()
            assert answer == SECRET if isinstance(answer, bytes) else keys(answer) == keys(before)
    await use(root)


async def test_the_tpm_may_be_reset_at_any_command(
    bus: Bus, tpm: swtpm, roots: Roots, tmp_path: Path
) -> None:
    """Its keys and sessions are gone then, and nothing else says so."""
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    before = await register(root)
    given = challenge(before)
    for call in (lambda: checked_evidence(root), lambda: root.activate(*given)):
        for number in range(await commands_of(bus, call)):

            def reset(n: int, command: bytes, execute: Execute, at: int = number) -> bytes:
                if n == at:
                    tpm.reset()
                return execute(command)

            with bus.meddling(reset):
                answer = await call()
            assert answer == SECRET if isinstance(answer, bytes) else keys(answer) == keys(before)
    await use(root)


async def test_whatever_is_changed_on_the_bus_gives_no_evidence(
    bus: Bus, roots: Roots, tmp_path: Path
) -> None:
    """One bit of each answer in turn. Only what the registrar checks by the maker's key gets through."""
    root = await roots(tmp_path, bus.transport, known=KNOWN)
    before = await register(root)

    for number in range(await commands_of(bus, root.evidence)):

        def flip(n: int, command: bytes, execute: Execute, at: int = number) -> bytes:
            answer = bytearray(execute(command))
            if n == at and len(answer) > 40:
                answer[40] ^= 1
            return bytes(answer)

        with bus.meddling(flip):
            try:
                evidence = await checked_evidence(root)
            except TrustError:
                continue
        assert keys(evidence)[1:] == keys(before)[1:]
    await use(root)


@pytest.mark.parametrize("code", [TPM2_RC.RETRY, TPM2_RC.OBJECT_MEMORY, TPM2_RC.SESSION_MEMORY])
async def test_a_tpm_without_time_or_room_is_asked_again(
    bus: Bus, roots: Roots, tmp_path: Path, code: int
) -> None:
    async def sleep(_: float) -> None:
        pass

    root = await roots(tmp_path, bus.transport, known=KNOWN, sleep=sleep)
    given = challenge(await checked_evidence(root))
    with bus.meddling(saying(code, 2)):
        await checked_evidence(root)
    with bus.meddling(saying(code, 2)):
        assert await root.activate(*given) == SECRET


async def test_a_password_on_the_endorsement_hierarchy_is_told(
    tpm: swtpm, roots: Roots, tmp_path: Path
) -> None:
    root = await roots(tmp_path, locate(tpm.tcti), known=KNOWN)
    given = challenge(await checked_evidence(root))
    with another_user(tpm.tcti) as operator:
        operator.hierarchy_change_auth(ESYS_TR.ENDORSEMENT, b"secret")
    sentence = r"endorsement hierarchy has a password.*tpm2_changeauth --object-context=endorsement"
    with pytest.raises(TrustError, match=sentence):
        await root.evidence()
    with pytest.raises(TrustError, match=sentence):
        await root.activate(*given)
    await use(root)


async def test_a_copied_card_has_no_evidence(tpm: swtpm, tmp_path: Path) -> None:
    """The folder beside another TPM: neither its root opens, nor has it evidence."""
    await (await open_root("tpm", tmp_path / "trust", tpm.tcti)).aclose()
    shutil.copytree(tmp_path / "trust", tmp_path / "copy")
    manufacture(tmp_path / "other")
    with swtpm(tmp_path / "other") as second, pytest.raises(TrustError, match="not hold this gateway's keys"):
        await open_root("tpm", tmp_path / "copy", second.tcti)
