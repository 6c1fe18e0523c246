"""The contract of a root of trust."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from gateway.errors import GatewayError
from gateway.registry.evidence import Evidence

Note = Callable[[int], Awaitable[None]]
"""Notes the value from which the incarnation counter is about to be stepped."""

MAX_MESSAGE = 1024
"""Bytes that `hmac` takes: one TPM2B_MAX_BUFFER (TPM 2.0 Library, part 2, 10.4.8)."""


async def unnoted(counter: int) -> None:
    """The note of a step that nobody needs to know of."""


class Root(Protocol):
    """The root (an HMAC key), the signing key and the incarnation counter. Safe to share between
    tasks of one event loop. Every method raises TrustError where the root cannot be used; it may be
    called again, and works once the cause is gone."""

    assurance: Literal["tpm", "software"]
    public_key: bytes
    """SubjectPublicKeyInfo (DER) of the signing key, P-256."""

    async def hmac(self, message: bytes) -> bytes:
        """HMAC-SHA256(root, message), 32 bytes; `message` of at most MAX_MESSAGE bytes."""

    async def sign(self, message: bytes) -> bytes:
        """ES256 over `message`: r | s, 64 bytes, verified in software before it is returned."""

    async def draw_incarnation(self, note: Note = unnoted) -> int:
        """A u64 that no other call has returned or will return: a TPM's counter, stepped (so each is greater
        than all before); 64 random bits in software.

        Before each single step of a TPM's counter, `note` is called with the counter's value and awaited: so
        if it makes that durable, the counter never stands at more than one beyond what it noted last."""

    async def incarnation_counter(self) -> int | None:
        """The counter's present value, 0 before the first draw; None in software."""

    async def random(self, n: int) -> bytes:
        """`n` bytes that are random if either the TPM's or the system's generator is."""

    async def evidence(self) -> Evidence | None:
        """The TPM's proof that it holds the signing key, for a registrar; None in software. The same
        identity in the same TPM gives the same keys each time, over power cuts too."""

    async def activate(self, credential_blob: bytes, secret: bytes) -> bytes:
        """The answer to a registrar's challenge, at most 32 bytes: what only the TPM of `evidence` finds in a
        TPM2B_ID_OBJECT and its TPM2B_ENCRYPTED_SECRET, as TPM2_MakeCredential makes them. Refused where they
        were not made for this TPM and its attestation key; GatewayError in software."""

    @property
    def fault(self) -> str | None:
        """What keeps the root from answering now, as a sentence; None while it answers."""

    @property
    def hung(self) -> bool:
        """Whether the TPM has not answered for so long, beyond every time limit, that a new process is the
        only way on. False while it merely waits for a TPM that says it is busy or not ready."""

    async def aclose(self) -> None:
        """Release the TPM; every later call raises TrustError. Closing twice is fine."""


def check_message(message: bytes) -> None:
    """GatewayError for a message that is too long for `hmac`."""
    if len(message) > MAX_MESSAGE:
        raise GatewayError(f"a message of {len(message)} bytes is too long to HMAC: at most {MAX_MESSAGE}")
