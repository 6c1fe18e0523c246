"""Everything that can go wrong, as one small tree.

Each error's text is a sentence for a person: what was wrong, where, and what would be right or
what to do. No error carries a secret. `exit_code` is what a command ends with.
"""

from __future__ import annotations


class GatewayError(Exception):
    """The root of the tree; raised itself only where no branch fits."""

    exit_code = 1


class UsageError(GatewayError):
    """What a person typed or configured cannot be right (an option, a TOML key, a file's content)."""

    exit_code = 2


class NotGranted(GatewayError):
    """The household granted no such window, lane or granularity."""

    exit_code = 3


class Unavailable(GatewayError):
    """A part does not answer now and may later; trying again is sensible."""

    exit_code = 4


class StoreUnavailable(Unavailable):
    """The bucket cannot be reached, or answers with a server's error."""


class StoreDenied(Unavailable):
    """The bucket answers, and refuses: wrong credentials, no such bucket, no right to a prefix."""


class MeterError(Unavailable):
    """A meter does not answer, or answers what its profile cannot read."""


class TrustError(Unavailable):
    """The root of trust cannot be used: no TPM, a foreign or cleared one, a broken answer."""


class LedgerError(Unavailable):
    """The ledger cannot be opened, read or written: another gateway holds it, the disk is full or broken."""


class Refused(GatewayError):
    """A signed object fails its check; the text names the object and what fails."""

    exit_code = 5


class RolledBack(Refused):
    """The store shows an older state than was seen before, or the ledger is older than the store."""


class NotFound(GatewayError):
    """No object has this key."""


class KeyTaken(GatewayError):
    """An object that is written once is there already, with other bytes."""
