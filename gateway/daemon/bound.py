"""What the secrets of this machine are bound to, for the doctor: the root to releases, the store's credential
to the TPM."""

from __future__ import annotations

import asyncio

from gateway.config import Config
from gateway.config.credential import bound_to_pcr, opened_by_a_copy
from gateway.config.store import FROM_REGISTRAR
from gateway.errors import UntrustedRelease
from gateway.trust import gate as gates
from gateway.trust.gate import Gate
from gateway.trust.policy import PCR


async def release_gate(config: Config) -> str:
    """For which releases a root in the TPM opens, as a sentence. UntrustedRelease where not for the one that
    runs; TrustError where that cannot be told."""
    from gateway.trust.tpm.health import examine_release  # noqa: PLC0415 - its libraries may be missing
    from gateway.trust.tpm.keys import check_gate  # noqa: PLC0415
    from gateway.trust.tpm.provision import TpmIdentity  # noqa: PLC0415

    gate = Gate.of_this_machine()
    identity = await asyncio.to_thread(TpmIdentity.load, config.gateway.trust)
    if gate is None and (identity is None or not identity.root_policy):
        return "none, as this system is not an image: the root opens for any software on this machine"
    if identity is None:
        return "the first run makes a root that opens for approved releases only"
    checked = check_gate(identity, gate)
    if checked is None:
        return "none, as the root was made without: it opens for any software on this machine"
    release = await examine_release(config.trust.tcti, checked)
    if release.refusal is not None:
        raise UntrustedRelease(release.refusal)
    return (
        f"the root opens for approved releases only: for this one, of epoch {release.epoch}, and for none"
        f" older than epoch {release.min_epoch}"
    )


def store_credential(config: Config) -> str | None:
    """What is wrong with how the store's credential is encrypted, as a sentence; None where nothing is, and
    where this user sees no such credential."""
    named = config.store.credentials
    if named == FROM_REGISTRAR or "/" in (named or ""):
        return None
    on_image = gates.APPROVAL_KEY.exists()
    if (sealed := opened_by_a_copy(named, "s3")) is not None:
        why = f"a copy of this disk opens {sealed}, the store's access key"
        if config.trust.root == "software":
            return f"{why}: there is no TPM to keep it from that"
    elif on_image and (sealed := bound_to_pcr(named, "s3", PCR)) is not None:
        why = f"{sealed}, the store's access key, is bound to PCR 14, and no other release can open it"
    else:
        return None
    name = named or "s3"
    # The next release of an image has another PCR 14. Elsewhere PCR 14 stays as it is, and systemd 252 cannot
    # decrypt what it bound to no PCR.
    pcrs = "" if on_image else f"{PCR}"
    decrypt = f"sudo systemd-creds decrypt --name={name} {sealed} -"
    encrypt = f"sudo systemd-creds encrypt --with-key=host+tpm2 --tpm2-pcrs={pcrs} --name={name} -"
    return (
        f"{why}. Encrypt it anew: {decrypt} | {encrypt} {sealed}.new && sudo mv {sealed}.new {sealed} && sudo"
        " systemctl try-restart gateway"
    )
