"""The provider whose folder is new is the same as for a stream's tests, the TPM as for a root's."""

from tests.stream.conftest import provider
from tests.trust.conftest import tpm

__all__ = ["provider", "tpm"]
