"""The store that simulated objects go to."""

from __future__ import annotations

from pathlib import Path

from gateway.errors import UsageError
from gateway.store.location import Location


def make_folder(location: Location) -> None:
    """Make the store where it is a folder. UsageError where that fails."""
    if location.url.startswith("s3://"):
        return
    try:
        Path(location.url).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the store {location.url} cannot be made: {error.strerror}") from None
