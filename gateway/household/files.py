"""The files that pages refer to: our own in `assets/`, and in `built/` what the build makes of `web/`."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from gateway.errors import NotFound, Unavailable

KINDS = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
}
"""The media types of what is served, by the ends of names."""


@cache
def content(name: str) -> bytes:
    """A file. NotFound for a name that is none of theirs; Unavailable where the build's files are missing."""
    package = resources.files("gateway.household")
    kind = name[name.rfind(".") :]
    if kind in KINDS and "/" not in name and not name.startswith("."):
        for folder in ("assets", "built"):
            if (file := package.joinpath(folder, name)).is_file():
                return file.read_bytes()
        if not package.joinpath("built").is_dir():
            raise Unavailable("the pages' scripts were not built: run provisioning/venv.sh household again")
    raise NotFound(f"there is no file {name!r}")


@cache
def address(name: str) -> str:
    """Where a file is served: with a digest of its content, so that a browser may keep it for ever."""
    return f"/assets/{hashlib.sha256(content(name)).hexdigest()[:16]}/{name}"
