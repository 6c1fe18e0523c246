"""The documents of the setup: the configuration, what of it was tried, and the doctor's findings."""

from __future__ import annotations

from typing import Any, Literal, Self, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from gateway.control.documents import Document, sentence_of
from gateway.errors import UsageError

D = TypeVar("D", bound=Document)


class ConfigurationStatus(Document):
    """The gateway's configuration file: its text, None where there is none yet, and what is wrong with it, a
    sentence each. Where it is not `writable`, its owner changes it by hand."""

    path: str
    text: str | None
    mistakes: tuple[str, ...] = ()
    writable: bool = False


class ConfigurationOrder(Document):
    """A new text of the configuration file. In a dry run it is only checked. `secrets` are the files that it
    names below its own folder, by name: what the store and the meters ask for."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=100_000)
    secrets: dict[str, str] = Field(default={}, repr=False)
    dry_run: bool = False

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The order in decoded JSON; UsageError says what is missing or wrong in it."""
        return parsed(cls, value, "the configuration")


class TrialOrder(Document):
    """A part of a configuration, to be tried before it is written: the root of trust, a meter or the store,
    as a table of the file. `secrets` are the contents of files that it names, by name."""

    model_config = ConfigDict(extra="forbid")

    part: Literal["trust", "meter", "store"]
    section: dict[str, Any]
    secrets: dict[str, str] = Field(default={}, repr=False)

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The order in decoded JSON; UsageError says what is missing or wrong in it."""
        return parsed(cls, value, "the trial")


class Finding(Document):
    """What was found of one part: whether it is in order, and a sentence. `sealing` is False where readings
    are not sealed until it is. A meter that was read has its `registers` by lane (mWh, W)."""

    part: str
    ok: bool
    sentence: str
    sealing: bool = True
    registers: dict[str, int] | None = Field(default=None, repr=False)


class SearchOrder(Document):
    """Where to search for meters: behind a host, or on a serial port of the gateway."""

    model_config = ConfigDict(extra="forbid")

    host: str | None = Field(default=None, pattern=r"^[^\s/]{1,253}$")
    port: int = Field(default=502, ge=1, le=65535)
    device: str | None = Field(default=None, pattern=r"^/dev/[\w./:-]+$")
    most_ids: int = Field(default=10, ge=1, le=247)
    """Modbus device ids from 1 on that are tried."""

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The order in decoded JSON; UsageError says what is missing or wrong in it."""
        order = parsed(cls, value, "the search")
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


def parsed(cls: type[D], value: Any, what: str) -> D:
    """A document in decoded JSON; UsageError says what is missing or wrong in `what`."""
    if not isinstance(value, dict):
        raise UsageError(f"{what} is not a JSON object")
    try:
        return cls.model_validate(value)
    except ValidationError as error:
        raise UsageError(sentence_of(error, what)) from None
