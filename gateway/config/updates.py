"""[updates]: where an appliance looks for new releases of its image, and when it installs them."""

from __future__ import annotations

from pydantic import Field

from gateway.config.section import Section


class UpdatesSection(Section):
    """The release feed, and the hour of the day, in the machine's time zone, at which it is asked."""

    feed: str | None = Field(
        default=None,
        pattern=r"^(https?://[^\s/@?#]+[^\s@?#]*|/.*)$",
        description='the address of a folder of releases, such as "https://releases.example.org/rpi4"',
    )
    automatic: bool = Field(
        default=True, description="true to install and restart by itself, or false to only look"
    )
    hour: int = Field(default=3, ge=0, le=23, description="a whole number from 0 to 23")
