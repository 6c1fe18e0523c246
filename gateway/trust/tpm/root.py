"""The root of trust in a TPM 2.0."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, Self

from gateway.errors import TrustError
from gateway.registry.evidence import Evidence
from gateway.trust.gate import Gate
from gateway.trust.root import Note, check_message, unnoted
from gateway.trust.tpm import attest
from gateway.trust.tpm.esapi import Context
from gateway.trust.tpm.keys import TpmKeys
from gateway.trust.tpm.owner import Owner
from gateway.trust.tpm.provision import TpmIdentity, provision
from gateway.trust.tpm.transport import Transport, locate

_DRAWS = 8  # one is lost only if its answer is, or if another process steps the counter in the same moment


class TpmRoot:
    """See `gateway.trust.root.Root`. `open` makes one."""

    assurance: Literal["tpm", "software"] = "tpm"

    def __init__(self, owner: Owner[TpmKeys], public_key: bytes) -> None:
        self._owner = owner
        self.public_key = public_key

    @classmethod
    async def open(cls, folder: Path, tcti: str, gate: Gate | None = None) -> Self:
        """The root whose blobs are in `folder`, in the TPM at `tcti`; provisioned if there are none, with
        the `gate` if there is one."""
        return await cls.over(Owner(tcti, connector(folder, locate(tcti), gate=gate)))

    @classmethod
    async def over(cls, owner: Owner[TpmKeys]) -> Self:
        """The root that `owner` connects to, once that is done."""
        try:
            return cls(owner, await owner.run(lambda keys: keys.public_key))
        except BaseException:
            await owner.aclose()
            raise

    def __repr__(self) -> str:
        return "TpmRoot()"

    async def hmac(self, message: bytes) -> bytes:
        check_message(message)
        return await self._owner.run(lambda keys: keys.hmac(message))

    async def sign(self, message: bytes) -> bytes:
        return await self._owner.run(lambda keys: keys.sign(message))

    async def draw_incarnation(self, note: Note = unnoted) -> int:
        for _ in range(_DRAWS):
            before = await self.incarnation_counter()
            await note(before)
            # A try whose answer gets lost is made again: it may have stepped, which is noted first then.
            drawn = await self._owner.run(partial(TpmKeys.step_from, before=before))
            if drawn is not None:
                return drawn
        raise TrustError(
            "something else steps the TPM's incarnation counter: only one gateway may use a TPM; stop the"
            " others"
        )

    async def incarnation_counter(self) -> int:
        return await self._owner.run(TpmKeys.incarnation_counter)

    async def random(self, n: int) -> bytes:
        return await self._owner.run(lambda keys: keys.random(n))

    async def evidence(self) -> Evidence:
        return await self._owner.run(attest.evidence)

    async def activate(self, credential_blob: bytes, secret: bytes) -> bytes:
        return await self._owner.run(partial(attest.activate, credential_blob=credential_blob, secret=secret))

    @property
    def fault(self) -> str | None:
        return self._owner.fault

    @property
    def hung(self) -> bool:
        return self._owner.hung

    async def aclose(self) -> None:
        await self._owner.aclose()


def connector(
    folder: Path, transport: Transport, root: bytes | None = None, gate: Gate | None = None
) -> Callable[[], TpmKeys]:
    """A function that connects to the identity in `folder`, made there (from `root`, or a random one, with
    the `gate` if there is one) if there is none."""
    known: TpmIdentity | None = None

    def connect() -> TpmKeys:
        nonlocal known
        # Read once: a folder that vanishes later must not look like one that was never filled.
        known = known or TpmIdentity.load(folder)
        context = Context(transport)
        try:
            if not transport.managed:
                context.flush_leftovers()
            if known is None:
                known = _first_use(context, folder, transport.tcti, root, gate)
            return TpmKeys(context, known, gate)
        except BaseException:
            context.close()
            raise

    return connect


def _first_use(
    context: Context, folder: Path, tcti: str, root: bytes | None, gate: Gate | None
) -> TpmIdentity:
    made = provision(context, tcti, root, gate)
    made.store(folder)
    return made
