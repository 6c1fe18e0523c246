"""The gateway's configuration: one TOML file, checked as a whole before anything starts.

`Config.load` returns the values with their defaults, or raises a UsageError with a sentence for every mistake
in the file: where it is, what is there, what it must be. The file may not hold secrets: the store's
credentials (`location`) and the meters' keys (`secrets_of`) have files of their own.
"""

from gateway.config.commands import CommandsSection
from gateway.config.meter import LaneName, MeterSection, SerialLine, TcpLine, secrets_of
from gateway.config.model import Config, StreamSection, example
from gateway.config.series import SeriesSection
from gateway.config.store import StoreSection, location

__all__ = [
    "CommandsSection",
    "Config",
    "LaneName",
    "MeterSection",
    "SerialLine",
    "SeriesSection",
    "StoreSection",
    "StreamSection",
    "TcpLine",
    "example",
    "location",
    "secrets_of",
]
