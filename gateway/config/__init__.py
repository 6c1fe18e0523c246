"""The gateway's configuration: one TOML file, checked as a whole before anything starts.

`Config.load` returns the values with their defaults, or raises a UsageError with a sentence for every mistake
in the file: where it is, what is there, what it must be. The file may not hold secrets: the store's
credentials (`location`) and the meters' keys (`secrets_of`) have files of their own.
"""

from importlib import import_module

# name: its module. What an importer does not use is not loaded; __init__.pyi has the types.
_NAMES = {
    "CommandsSection": "gateway.config.commands",
    "Config": "gateway.config.model",
    "LaneName": "gateway.config.meter",
    "MeterSection": "gateway.config.meter",
    "SerialLine": "gateway.config.meter",
    "SeriesSection": "gateway.config.series",
    "StoreSection": "gateway.config.store",
    "StreamSection": "gateway.config.model",
    "TcpLine": "gateway.config.meter",
    "example": "gateway.config.model",
    "location": "gateway.config.store",
    "secrets_of": "gateway.config.meter",
}
__all__ = list(_NAMES)


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
