"""Sessions of boto3 that ask nobody on the network for credentials."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boto3.session import Session

    from gateway.store.s3_get import Keys


def session(present: Callable[[], Keys] | None = None) -> Session:
    """A session of boto3 that signs with the keys that `present` gives, or else with those that it finds in
    its environment and files alone. What it would ask the network for, at an address that only a cloud's
    machines have, someone else may answer in a home."""
    from boto3.session import Session  # noqa: PLC0415 - most reads do without it
    from botocore.credentials import CredentialProvider, Credentials  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415

    class Given(Credentials):
        """Keys that may be others for each request that botocore signs."""

        def get_frozen_credentials(self) -> Any:
            assert present is not None
            return present()

    class Givens(CredentialProvider):
        METHOD = CANONICAL_NAME = "given"

        def load(self) -> Given:
            return Given("given", "given", method=self.METHOD)

    found = get_session()
    resolver = found.get_component("credential_provider")
    for provider in ("container-role", "iam-role"):
        resolver.remove(provider)
    if present is not None:
        resolver.providers.insert(0, Givens())
    return Session(botocore_session=found)
