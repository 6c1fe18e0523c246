"""The gateway's configuration: one TOML file, checked whole before anything starts.

`Config.load` gives the values with their defaults, or a UsageError with one sentence for every
mistake in the file: where it stands, what is there, what would be right. It refuses secrets in
the file: the store's credentials (`location`) and the meters' keys (`secrets_of`) have their own.
"""

from gateway.config.meter import LaneName, MeterSection, SerialLine, TcpLine, secrets_of
from gateway.config.model import Config, StreamSection, example
from gateway.config.store import StoreSection, location

__all__ = [
    "Config",
    "LaneName",
    "MeterSection",
    "SerialLine",
    "StoreSection",
    "StreamSection",
    "TcpLine",
    "example",
    "location",
    "secrets_of",
]
