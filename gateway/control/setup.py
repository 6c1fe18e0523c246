"""The documents of the setup: the configuration, what of it was tried, and the doctor's findings."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, Self

from pydantic import Field

from gateway.control.documents import Document, Order
from gateway.errors import UsageError


class ConfigurationStatus(Document):
    """The gateway's configuration file: its text, None where there is none yet, and what is wrong with it, a
    sentence each. Where it is not `writable`, its owner changes it by hand."""

    path: str
    text: str | None
    mistakes: tuple[str, ...] = ()
    writable: bool = False


class ConfigurationOrder(Order):
    """A new text of the configuration file. In a dry run it is only checked. `secrets` are the files that it
    names below its own folder, by name: what the store and the meters ask for."""

    name_of_order = "the configuration"

    text: str = Field(max_length=100_000)
    secrets: dict[str, str] = Field(default={}, repr=False)
    dry_run: bool = False
    replaces: str | None = None
    """The digest of the text that this one was made from (`digest_of`): where the file has another text by
    now, nothing is written. None writes over whatever there is."""


def digest_of(text: str | None) -> str:
    """A name for a text of the configuration file: SHA-256, hexadecimal; empty where there is no file."""
    return "" if text is None else hashlib.sha256(text.encode()).hexdigest()


class TrialOrder(Order):
    """A part of a configuration, to be tried before it is written: the root of trust, a meter or the store,
    as a table of the file. `secrets` are the contents of files that it names, by name."""

    name_of_order = "the trial"

    part: Literal["trust", "meter", "store"]
    section: dict[str, Any]
    secrets: dict[str, str] = Field(default={}, repr=False)


class Finding(Document):
    """What was found of one part: whether it is in order, and a sentence. `sealing` is False where readings
    are not sealed until it is. A meter that was read has its `registers` by lane (mWh, W)."""

    part: str
    ok: bool
    sentence: str
    sealing: bool = True
    registers: dict[str, int] | None = Field(default=None, repr=False)


class SearchOrder(Order):
    """Where to search for meters: behind a host, or on a serial port of the gateway."""

    name_of_order = "the search"

    host: str | None = Field(default=None, pattern=r"^[^\s/]{1,253}$")
    port: int = Field(default=502, ge=1, le=65535)
    device: str | None = Field(default=None, pattern=r"^/dev/[\w./:-]+$")
    most_ids: int = Field(default=10, ge=1, le=247)
    """Modbus device ids from 1 on that are tried."""

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The order in decoded JSON; UsageError says what is missing or wrong in it."""
        order = super().parse(value)
        if (order.host is None) == (order.device is None):
            raise UsageError("a search is behind a host or on a device, and takes one of the two")
        return order


class FoundMeter(Document):
    """A meter that the search found: by which profiles it can be read, the likeliest first, and the tables of
    the configuration that lead to it."""

    profiles: tuple[str, ...]
    sentence: str
    section: dict[str, Any]


class SearchAnswer(Document):
    """What a search found; `sentence` says what it saw where that is nothing."""

    found: tuple[FoundMeter, ...]
    sentence: str = ""
    ports: tuple[str, ...] = ()
    """The serial ports that this machine has, by paths that stay the same."""


class MeterProfile(Document):
    """A meter model that can be read: whether at a serial port, with the settings of its factory; its
    protocol's port on a network, None where it has none; whether it may need keys, and whether it is asked
    under a Modbus device id."""

    profile: str
    products: tuple[str, ...]
    protocol: str
    lanes: tuple[str, ...]
    serial: bool
    tcp_port: int | None
    keys: bool
    modbus: bool
