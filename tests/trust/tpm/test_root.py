"""The root on a real TPM: what survives, what is refused, and with which words."""

from __future__ import annotations

import asyncio
import hmac
import threading
from pathlib import Path
from typing import Any

import pytest
from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_NT,
    TPM2B_NV_PUBLIC,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMA_NV,
    TPMA_OBJECT,
    TPMS_NV_PUBLIC,
    TSS2_Exception,
)

from gateway.errors import TrustError, UsageError
from gateway.trust.folder import FILE
from gateway.trust.opening import open_root
from gateway.trust.root import Root
from gateway.trust.tpm import esapi
from gateway.trust.tpm.transport import locate
from tests.support.tpm import manufacture, swtpm
from tests.trust.conftest import Roots
from tests.trust.tpm.bus import another_user

KNOWN = bytes(range(32))
FOREIGN = "does not hold this gateway's keys.*cleared, or it is another TPM.*move the folder"


async def test_hmac_is_hmac_sha256_of_the_root(tpm: swtpm, roots: Roots, tmp_path: Path) -> None:
    root = await roots(tmp_path, locate(tpm.tcti), known=KNOWN)
    for message in (b"", b"gw1/incarnation", bytes(1024)):
        assert await root.hmac(message) == hmac.digest(KNOWN, message, "sha256")


async def test_everything_survives_power_cycles_and_reopening(tpm: swtpm, tmp_path: Path) -> None:
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    before = root.public_key, await root.hmac(b"label")
    drawn = [await root.draw_incarnation()]

    def cut() -> None:
        tpm.kill()
        tpm.start()

    for interrupt in (tpm.power_cycle, cut, tpm.reset):
        interrupt()
        assert (root.public_key, await root.hmac(b"label")) == before  # the same object, on a new connection
        await root.sign(b"message")
        interrupt()
        drawn.append(await root.draw_incarnation())
        await root.aclose()
        interrupt()
        root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
        assert (root.public_key, await root.hmac(b"label")) == before
        drawn.append(await root.draw_incarnation())
    await root.aclose()
    assert drawn == sorted(set(drawn))


async def test_a_folder_that_vanishes_makes_no_new_root(tpm: swtpm, tmp_path: Path) -> None:
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    before = await root.hmac(b"label")
    (tmp_path / "trust" / FILE).unlink()
    tpm.power_cycle()
    assert await root.hmac(b"label") == before
    assert not (tmp_path / "trust" / FILE).exists()
    await root.aclose()


async def test_a_tpm_that_dies_is_told_and_works_when_it_is_back(tpm: swtpm, tmp_path: Path) -> None:
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    before, first = await root.hmac(b"label"), await root.draw_incarnation()
    tpm.kill()
    for _ in range(2):
        with pytest.raises(TrustError, match="does not answer"):
            await root.hmac(b"label")
    with pytest.raises(TrustError, match="does not answer"):
        await root.draw_incarnation()
    tpm.start()
    assert await root.hmac(b"label") == before
    assert await root.draw_incarnation() > first
    await root.aclose()


async def test_power_cuts_in_use_never_lead_to_lockout(tpm: swtpm, tmp_path: Path) -> None:
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    with another_user(tpm.tcti) as operator:
        operator.dictionary_attack_parameters(2, 1000, 1000)  # two strikes, and a long wait
    for _ in range(4):
        await root.hmac(b"label")
        await root.sign(b"message")
        await root.draw_incarnation()
        tpm.kill()
        tpm.start()
    await root.aclose()


async def test_another_tpm_is_refused(tpm: swtpm, tmp_path: Path) -> None:
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    before = await root.hmac(b"label")
    await root.aclose()
    kept = (tmp_path / "trust" / FILE).read_bytes()
    manufacture(tmp_path / "other")
    with swtpm(tmp_path / "other") as other:
        with pytest.raises(TrustError, match=FOREIGN):  # a TPM that nobody used
            await open_root("tpm", tmp_path / "trust", other.tcti)
        theirs = await open_root("tpm", tmp_path / "their-trust", other.tcti)
        await theirs.aclose()
        with pytest.raises(TrustError, match=FOREIGN):  # the TPM of another gateway
            await open_root("tpm", tmp_path / "trust", other.tcti)
    assert (tmp_path / "trust" / FILE).read_bytes() == kept
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    assert await root.hmac(b"label") == before
    await root.aclose()


async def test_a_cleared_tpm_is_refused(tpm: swtpm, tmp_path: Path) -> None:
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    with another_user(tpm.tcti) as operator:
        operator.clear(ESYS_TR.LOCKOUT)
    for call in (root.hmac(b"label"), root.sign(b"message"), root.draw_incarnation()):
        with pytest.raises(TrustError, match=FOREIGN):
            await call
    await root.aclose()
    with pytest.raises(TrustError, match=FOREIGN):
        await open_root("tpm", tmp_path / "trust", tpm.tcti)

    anew = await open_root("tpm", tmp_path / "anew", tpm.tcti)  # a new gateway takes the TPM
    await anew.aclose()
    with pytest.raises(TrustError, match=FOREIGN):
        await open_root("tpm", tmp_path / "trust", tpm.tcti)


async def test_a_lost_folder_does_not_become_another_gateway(tpm: swtpm, tmp_path: Path) -> None:
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    drawn = await root.draw_incarnation()
    await root.aclose()
    with pytest.raises(TrustError, match=r"counter of an earlier gateway.*tpm2_nvundefine 0x01800100"):
        await open_root("tpm", tmp_path / "empty", tpm.tcti)
    assert not (tmp_path / "empty").exists()

    with another_user(tpm.tcti) as operator:  # what the sentence says to do
        operator.nv_undefine_space(operator.tr_from_tpmpublic(esapi.COUNTER_INDEX))
    root = await open_root("tpm", tmp_path / "empty", tpm.tcti)
    assert await root.draw_incarnation() > drawn
    await root.aclose()


async def test_a_lost_counter_is_refused(tpm: swtpm, tmp_path: Path) -> None:
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    with another_user(tpm.tcti) as operator:
        operator.nv_undefine_space(operator.tr_from_tpmpublic(esapi.COUNTER_INDEX))
    with pytest.raises(TrustError, match=FOREIGN):
        await root.draw_incarnation()
    await root.aclose()


def define(operator: Any, attributes: int) -> Any:
    area = TPMS_NV_PUBLIC(
        nvIndex=esapi.COUNTER_INDEX, nameAlg=TPM2_ALG.SHA256, dataSize=8, attributes=attributes
    )
    return operator.nv_define_space(b"right", TPM2B_NV_PUBLIC(area))


async def test_a_counter_replaced_by_a_plain_index_is_refused(tpm: swtpm, tmp_path: Path) -> None:
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    with another_user(tpm.tcti) as operator:
        operator.nv_undefine_space(operator.tr_from_tpmpublic(esapi.COUNTER_INDEX))
        define(operator, TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPMA_NV.OWNERREAD | TPMA_NV.NO_DA)
    await root.aclose()
    for folder in ("trust", "new"):
        with pytest.raises(TrustError, match="index 0x01800100 belongs to something other than this"):
            await open_root("tpm", tmp_path / folder, tpm.tcti)


async def test_an_owner_with_a_password_is_refused_at_first_use(tpm: swtpm, tmp_path: Path) -> None:
    with another_user(tpm.tcti) as operator:
        operator.hierarchy_change_auth(ESYS_TR.OWNER, b"secret")
    with pytest.raises(TrustError, match=r"owner of the TPM at .* has a password.*tpm2_changeauth"):
        await open_root("tpm", tmp_path / "trust", tpm.tcti)


async def test_a_tpm_set_up_but_never_used_serves_another_folder(tpm: swtpm, tmp_path: Path) -> None:
    await (await open_root("tpm", tmp_path / "one", tpm.tcti)).aclose()
    root = await open_root("tpm", tmp_path / "two", tpm.tcti)
    await root.hmac(b"label")
    await root.aclose()


@pytest.mark.parametrize("template", ["rsa2048:aes128cfb", "ecc384:aes128cfb", "a signing key"])
async def test_another_key_in_the_storage_keys_place_is_refused(
    tpm: swtpm, tmp_path: Path, template: str
) -> None:
    with another_user(tpm.tcti) as operator:
        public = esapi.signing_template() if template == "a signing key" else template
        handle, *_ = operator.create_primary(TPM2B_SENSITIVE_CREATE(), public)
        operator.evict_control(ESYS_TR.OWNER, handle, esapi.SRK_HANDLE)
    with pytest.raises(TrustError, match="has another kind of key at 0x81000001"):
        await open_root("tpm", tmp_path / "trust", tpm.tcti)


async def test_a_missing_command_is_named(
    tpm: swtpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(esapi, "NEEDED_COMMANDS", ("Create", "FieldUpgradeStart", "HMAC"))
    with pytest.raises(TrustError, match="has no command TPM2_FieldUpgradeStart, which the gateway needs"):
        await open_root("tpm", tmp_path / "trust", tpm.tcti)


def lock_out(operator: Any) -> None:
    """One wrong password too many, on an index that counts them."""
    operator.dictionary_attack_parameters(1, 1000, 1000)
    index = define(operator, TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPM2_NT.COUNTER << TPMA_NV.TPM2_NT_SHIFT)
    operator.tr_set_auth(index, b"wrong")
    with pytest.raises(TSS2_Exception):
        operator.nv_increment(index)
    operator.nv_undefine_space(index)


async def test_lockout_stops_only_what_is_guarded_by_it(tpm: swtpm, tmp_path: Path) -> None:
    with another_user(tpm.tcti) as operator:
        lock_out(operator)
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    await root.hmac(b"label")
    await root.sign(b"message")
    await root.draw_incarnation()
    await root.aclose()


async def test_a_guarded_storage_key_in_lockout_is_told(tpm: swtpm, tmp_path: Path) -> None:
    guarded = TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT | TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT
    guarded |= TPMA_OBJECT.SENSITIVEDATAORIGIN | TPMA_OBJECT.USERWITHAUTH
    template = TPM2B_PUBLIC.parse("ecc256:aes128cfb", objectAttributes=guarded)
    with another_user(tpm.tcti) as operator:
        handle, *_ = operator.create_primary(TPM2B_SENSITIVE_CREATE(), template)
        operator.evict_control(ESYS_TR.OWNER, handle, esapi.SRK_HANDLE)
        operator.flush_context(handle)
        lock_out(operator)
    with pytest.raises(TrustError, match=r"is in lockout.*tpm2_dictionarylockout --clear-lockout"):
        await open_root("tpm", tmp_path / "trust", tpm.tcti)
    with another_user(tpm.tcti) as operator:  # what the sentence says to do
        operator.dictionary_attack_lock_reset()
    await (await open_root("tpm", tmp_path / "trust", tpm.tcti)).aclose()


async def test_many_at_once(tpm: swtpm, roots: Roots, tmp_path: Path) -> None:
    root = await roots(tmp_path, locate(tpm.tcti), known=KNOWN)
    messages = [i.to_bytes(2, "big") for i in range(25)]
    signed = asyncio.gather(*(root.sign(message) for message in messages))
    hashed = asyncio.gather(*(root.hmac(message) for message in messages))
    drawn = asyncio.gather(*(root.draw_incarnation() for _ in range(5)))
    assert len(set(await signed)) == 25
    assert await hashed == [hmac.digest(KNOWN, message, "sha256") for message in messages]
    assert len(set(await drawn)) == 5


async def test_the_event_loop_never_waits_on_the_tpm(tpm: swtpm, tmp_path: Path) -> None:
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    for _ in range(20):
        await root.sign(b"message")
    ticking.cancel()
    await root.aclose()
    assert ticks > 20 * 20  # were a signature made in the loop, there would be a handful of ticks to each


async def test_a_caller_that_gives_up_harms_nobody(tpm: swtpm, roots: Roots, tmp_path: Path) -> None:
    root = await roots(tmp_path, locate(tpm.tcti), known=KNOWN)
    tasks = [asyncio.create_task(root.hmac(bytes([i]))) for i in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in done[::2])
    assert done[1::2] == [hmac.digest(KNOWN, bytes([i]), "sha256") for i in range(1, 20, 2)]


async def test_closing_ends_the_thread_and_empties_the_tpm(tpm: swtpm, tmp_path: Path) -> None:
    root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    assert "tpm" in {thread.name for thread in threading.enumerate()}
    await root.aclose()
    assert "tpm" not in {thread.name for thread in threading.enumerate()}
    with another_user(tpm.tcti) as operator:
        handles = [operator.create_primary(TPM2B_SENSITIVE_CREATE(), "ecc256")[0] for _ in range(3)]
        assert len(handles) == 3  # all the slots there are


async def test_leftovers_of_a_dead_process_are_in_nobodys_way(tpm: swtpm, tmp_path: Path) -> None:
    with another_user(tpm.tcti) as dead:
        for _ in range(3):
            dead.create_primary(TPM2B_SENSITIVE_CREATE(), "ecc256")
        for _ in range(3):
            dead.start_auth_session(ESYS_TR.NONE, ESYS_TR.NONE, 0, None, TPM2_ALG.SHA256)
    root: Root = await open_root("tpm", tmp_path / "trust", tpm.tcti)
    await root.hmac(b"label")
    await root.aclose()


@pytest.mark.parametrize(
    "tcti",
    ["", "tpm", "device", "device:tpmrm0", "swtpm", "swtpm:port=1", "swtpm:host=a,port=b", "/lib/x.so"],
)
async def test_what_names_no_tpm(tcti: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a TPM's address: use device:/dev/tpmrm0"):
        await open_root("tpm", tmp_path, tcti)


@pytest.mark.parametrize(
    ("tcti", "sentence"),
    [
        (
            "device:/dev/no-such-tpm",
            "there is no TPM at /dev/no-such-tpm: .*dtoverlay=tpm-slb9670.*software root",
        ),
        ("swtpm:path=/tmp/no-such-socket", "there is no TPM at /tmp/no-such-socket: install swtpm"),
        ("swtpm:host=127.0.0.1,port=9", "the TPM at swtpm:host=127.0.0.1,port=9 does not answer"),
        ("device:/dev/null", "the TPM at device:/dev/null does not answer"),
    ],
)
async def test_where_no_tpm_is(tcti: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=sentence):
        await open_root("tpm", tmp_path / "trust", tcti)
    assert not (tmp_path / "trust").exists()
