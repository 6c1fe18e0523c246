"""A small JSON object that outlasts a restart: what has been announced, or sent."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from gateway.errors import Unavailable
from gateway.host.files import write_durably

_log = logging.getLogger(__name__)


class Kept:
    """The object in the file `path`; without the file, or where it is damaged, an empty one: then what was
    sent is sent again, which harms nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Any] = {}
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            _log.warning("%s cannot be read, and begins anew: %s", path, error)
            return
        if isinstance(found, dict):
            self._values = found

    def get(self, name: str) -> Any:
        """The value of a name; None where there is none."""
        return self._values.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Those that have a value."""
        return tuple(self._values)

    def put(self, name: str, value: Any) -> None:
        """Keep a value; Unavailable where the disk does not take it."""
        if self._values.get(name) != value:
            self._values[name] = value
            self._write()

    def drop(self, *names: str) -> None:
        """Forget values."""
        if [name for name in names if self._values.pop(name, None) is not None]:
            self._write()

    def _write(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self._path, json.dumps(self._values, sort_keys=True).encode())
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be written: {error.strerror}") from None
