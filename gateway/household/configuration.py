"""The household's configuration: `household.toml`, all of which may be left out.

What the people in the home choose on the page is not in it: see `gateway.household.settings`.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gateway.config.mistakes import sentences
from gateway.config.section import FilePath, Load, Section
from gateway.errors import UsageError
from gateway.household.mqtt.configuration import MqttSection

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_NAME = r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"


class HouseholdSection(Section):
    """Where the household's daemon keeps its state, and where the gateway answers."""

    state: FilePath = Field(default=Path("/var/lib/gateway-household"), description="a folder")
    socket: FilePath = Field(
        default=Path("/run/gateway/control.sock"), description="the path of the gateway's socket"
    )


class ListenSection(Section):
    """Where the pages are, and under which names; over TLS but on this machine itself."""

    host: str = Field(default="0.0.0.0", pattern=r"^[^\s/]+$", description='an address such as "0.0.0.0"')  # noqa: S104
    port: int = Field(default=8443, ge=0, le=65535, description="a whole number from 0 to 65535")
    http_port: int | None = Field(
        default=8080,
        ge=0,
        le=65535,
        description="a port that leads to the pages",
    )
    names: Annotated[tuple[Annotated[str, Field(pattern=_NAME)], ...], Field(strict=False)] = Field(
        default=("gateway.local",), description='the names of this machine, such as ["gateway.local"]'
    )
    tls: bool = Field(
        default=True, description="true, or false where this machine alone is to reach the pages"
    )
    certificate: FilePath | None = Field(default=None, description="the path of a PEM file")
    key: FilePath | None = Field(default=None, description="the path of a PEM file")

    @model_validator(mode="after")
    def _with_tls(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise PydanticCustomError("whole", "needs both certificate and key, or neither")
        if not self.tls and self.host not in LOOPBACK:
            raise PydanticCustomError(
                "whole",
                "has tls = false: passwords would cross the network in clear. Leave it out, or give "
                'host = "127.0.0.1"',
            )
        return self


class MetricsSection(Section):
    """What a monitoring system reads at /metrics."""

    token_sha256: str | None = Field(
        default=None, description="the SHA-256 of a token, 64 hexadecimal digits; never the token itself"
    )

    @field_validator("token_sha256")
    @classmethod
    def _a_digest(cls, digest: str | None) -> str | None:
        if digest is not None and not re.fullmatch("[0-9a-f]{64}", digest):
            # "whole": the sentence must not show what may be the token.
            raise PydanticCustomError(
                "whole",
                "token_sha256 is not a SHA-256: expected 64 digits from 0 to 9 and a to f, as "
                "`printf %s TOKEN | sha256sum` prints them",
            )
        return digest


class HouseholdConfig(Section):
    """The whole file."""

    household: HouseholdSection = Field(default=HouseholdSection(), description="a table [household]")
    listen: ListenSection = Field(default=ListenSection(), description="a table [listen]")
    metrics: MetricsSection = Field(default=MetricsSection(), description="a table [metrics]")
    mqtt: MqttSection = Field(default=MqttSection(), description="tables [mqtt.home] and [mqtt.utility]")

    @classmethod
    def load(cls, path: Path, *, required: bool = True) -> Self:
        """Read and check a file; without one all defaults, unless it is `required`. The UsageError has a line
        for each mistake."""
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if not required:
                return cls()
            raise UsageError(f"{path}: there is no such file") from None
        except OSError as error:
            raise UsageError(f"{path}: the file cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}: this is not valid TOML: {error}") from None
        try:
            return cls.model_validate(raw, context=Load(path))
        except ValidationError as error:
            # `from None`: pydantic's error holds the file's values, and a misplaced secret is one.
            raise UsageError("\n".join(sentences(path, raw, cls, error))) from None
