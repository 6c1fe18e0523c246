"""Opens the bucket at a location."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.store.location import Location

if TYPE_CHECKING:
    from gateway.store.directory import DirectoryBucket
    from gateway.store.s3 import S3Bucket


def open_bucket(location: Location) -> S3Bucket | DirectoryBucket:
    """The bucket at a location. Nothing is read or written yet: its first use shows whether it answers."""
    if location.url.startswith("s3://"):
        # Imported here: boto3 takes a second to load on a Pi, and a directory does not need it.
        from gateway.store.s3 import S3Bucket  # noqa: PLC0415

        return S3Bucket(location)
    from gateway.store.directory import DirectoryBucket  # noqa: PLC0415

    return DirectoryBucket(Path(location.url))
