"""The documents of reading stored objects over the control socket."""

from __future__ import annotations

from gateway.control.documents import Document

MOST_KEYS = 1000
"""Keys in one answer, at most."""


class ObjectEntry(Document):
    """An object that lies in the bucket, or is on its way there."""

    key: str


class ObjectList(Document):
    """Objects in the order of their keys; `more` where others follow the last one."""

    objects: tuple[ObjectEntry, ...]
    more: bool
