"""Python's collector of objects in cycles, in processes that work through many homes."""

from __future__ import annotations

import gc

_OBJECTS = 20_000
"""Objects after which it looks: a home makes a thousand, and hardly any in a cycle."""


def collect_seldom() -> None:
    """Have it look seldom, and never among what was imported, which lives as long as the process."""
    gc.freeze()
    gc.set_threshold(_OBJECTS)
