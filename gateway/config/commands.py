"""[[commands]]: a provider, and which of its commands are carried out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from gateway.config.section import Load, Section, from_the_file

Policy = Literal["allow", "ask", "refuse"]
_POLICY = '"allow", "ask" (the household decides each time) or "refuse"'


class CommandsSection(Section):
    """A provider, and which of its commands are carried out. A kind that is not written here is refused, and
    so is every command of a provider without such a section: a grant lets nobody switch anything, or write
    on the household's page."""

    provider: str = Field(
        alias="from",
        min_length=1,
        description='the file of a provider\'s card ("/etc/gateway/utility.cose", "./utility.cose"), or the '
        'name of a provider for whom the registrar vouches ("Stadtwerke")',
    )
    disconnect: Policy = Field(default="refuse", description=_POLICY)
    reconnect: Policy = Field(default="refuse", description=_POLICY)
    limit: Policy = Field(default="refuse", description=_POLICY)
    message: Policy = Field(default="refuse", description=_POLICY)

    @field_validator("provider")
    @classmethod
    def _once(cls, value: str, info: ValidationInfo) -> str:
        if isinstance(info.context, Load):
            if value in info.context.providers:
                raise ValueError("another [[commands]] is from this provider already; write one for each")
            info.context.providers.add(value)
        return str(from_the_file(Path(value), info)) if "/" in value else value

    @property
    def card(self) -> Path | None:
        """The file of the provider's card; None where the registrar vouches for its name."""
        return Path(self.provider) if "/" in self.provider else None
