"""Everything that can go wrong, as one small tree.

Each error's text is a sentence for a person: what was wrong, where, and what would be right or
what to do. No error carries a secret. `kind` is the branch's name, for programs: a command's exit
code and the control API's answer are made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class GatewayError(Exception):
    """The root of the tree; raised itself only where no branch fits. Of an error about some homes of a set
    `homes` says what is wrong with each, by its stream's id in hexadecimal digits."""

    kind: ClassVar[str] = "failed"
    homes: Mapping[str, str] = MappingProxyType({})


class UsageError(GatewayError):
    """What a person typed or configured cannot be right (an option, a TOML key, a file's content)."""

    kind = "usage"


class NotGranted(GatewayError):
    """The household granted no such window, lane or granularity."""

    kind = "not_granted"


class Unavailable(GatewayError):
    """A part does not answer now and may later; trying again is sensible."""

    kind = "unavailable"


class StoreUnavailable(Unavailable):
    """The bucket cannot be reached, or answers with a server's error."""


class StoreDenied(Unavailable):
    """The bucket answers, and refuses: wrong credentials, no such bucket, no right to a prefix."""


class BrokerUnavailable(Unavailable):
    """An MQTT broker cannot be reached, or the connection to it broke."""


class BrokerDenied(Unavailable):
    """An MQTT broker answers, and refuses: a certificate, a login, or a right to a topic."""


class MeterError(Unavailable):
    """A meter does not answer, or answers what its profile cannot read."""


class KeyFault(MeterError):
    """A meter encrypts what it sends, and the keys that are set do not open it, or none are set; or it does
    not encrypt, and keys are set."""


class TrustError(Unavailable):
    """The root of trust cannot be used: no TPM, a foreign or cleared one, a broken answer."""


class UntrustedRelease(TrustError):
    """The root stays closed to the software that runs: it is not a release that was approved, or is older
    than this machine accepts by now."""


class LedgerError(Unavailable):
    """The ledger cannot be opened, read or written: another gateway holds it, the disk is full or broken."""


class NotMigrated(LedgerError):
    """The ledger still has an older version; the gateway will migrate it at its next start."""


class NewerLedger(LedgerError):
    """A newer gateway wrote the ledger; this one leaves it as it is."""

    kind = "newer_ledger"


class Refused(GatewayError):
    """A signed object fails its check; the text names the object and what fails."""

    kind = "refused"


class RolledBack(Refused):
    """The store shows an older state than was seen before, or the ledger is older than the store."""


class NotFound(GatewayError):
    """No object has this key."""


class KeyTaken(GatewayError):
    """An object that is written once is there already, with other bytes."""


KINDS: dict[str, type[GatewayError]] = {
    branch.kind: branch
    for branch in (GatewayError, UsageError, NotGranted, Unavailable, NewerLedger, Refused)
}
"""The branches by their kinds."""
