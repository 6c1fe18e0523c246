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
