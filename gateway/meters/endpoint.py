"""Where a meter is reached: an address on the network, or a serial port."""

from __future__ import annotations

import errno
import os
import re
import termios
from dataclasses import dataclass
from typing import Literal

Parity = Literal["none", "even", "odd"]


@dataclass(frozen=True, slots=True)
class SerialSettings:
    """How characters are sent on a serial line: `baud` bits per second, 7 or 8 data bits."""

    baud: int
    parity: Parity
    stop_bits: int
    data_bits: int = 8

    def __str__(self) -> str:
        return f"{self.baud} Bd, {self.data_bits}{self.parity[0].upper()}{self.stop_bits}"


@dataclass(frozen=True, slots=True)
class Tcp:
    """A meter on the network, or a converter that passes a serial line through."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Udp:
    """A meter on the network that is polled in single datagrams."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port} (UDP)"


@dataclass(frozen=True, slots=True)
class Line:
    """A serial port; a path under /dev/serial/by-id stays the same when adapters are replugged."""

    device: str
    settings: SerialSettings

    def __str__(self) -> str:
        return self.device


Endpoint = Tcp | Udp | Line
IN_USE = "another program uses it"


def why(error: Exception) -> str:
    """Why an endpoint could not be opened or used, in a person's words."""
    refused = error if isinstance(error, termios.error) else error.__context__  # pyserial wraps it
    if isinstance(refused, termios.error):
        if refused.args[0] == errno.ENOTTY:
            return "it is not a serial port"
        return f"{refused.args[-1]}, so it cannot have these settings"
    if not isinstance(error, OSError):
        return str(error)
    if error.errno == errno.EAGAIN:
        return IN_USE
    if error.errno is not None and error.errno > 0:  # a resolver's numbers are negative
        return os.strerror(error.errno)
    # For a name with several addresses asyncio raises one error for all, without a number of its own.
    if (number := re.search(r"\[Errno (\d+)\]", str(error))) and error.strerror is None:
        return os.strerror(int(number[1]))
    return error.strerror or str(error)
