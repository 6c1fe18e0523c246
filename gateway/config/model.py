"""The configuration file as a whole, and its short sections."""

from __future__ import annotations

import os
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from gateway.chain.layout import MAX_UNIT_MS
from gateway.config.commands import CommandsSection
from gateway.config.meter import MeterSection
from gateway.config.mistakes import sentences
from gateway.config.section import FilePath, Load, Section
from gateway.config.series import SeriesSection
from gateway.config.store import StoreSection
from gateway.config.updates import UpdatesSection
from gateway.errors import UsageError

MAX_SOCKET_PATH = 107  # unix(7): sun_path holds 108 bytes, including the final zero


def _state_folder() -> Path:
    """The folder that the service's unit gives it, StateDirectory= (systemd.exec(5)), or the usual one."""
    return Path(os.environ.get("STATE_DIRECTORY", "/var/lib/gateway"))


class GatewaySection(Section):
    """Where the gateway keeps its state, and how often it makes it durable."""

    state: FilePath = Field(default_factory=_state_folder, description="a folder")
    socket: FilePath = Field(default=Path("/run/gateway/control.sock"), description="a path")
    commit_seconds: int = Field(default=5, ge=1, le=60, description="a whole number of seconds from 1 to 60")

    @field_validator("socket")
    @classmethod
    def _fits(cls, path: Path) -> Path:
        if (length := len(str(path).encode())) > MAX_SOCKET_PATH:
            raise ValueError(
                f"the whole path has {length} bytes, but a socket's may have at most {MAX_SOCKET_PATH}"
            )
        return path

    @property
    def ledger(self) -> Path:
        return self.state / "ledger.sqlite"

    @property
    def trust(self) -> Path:
        return self.state / "trust"


class ClockSection(Section):
    """The source of the time: see gateway.host.clock.SystemClock."""

    source: Literal["ntp", "host"] = Field(default="ntp", description='"ntp" or "host"')


class TrustSection(Section):
    """Where the keys live."""

    root: Literal["tpm", "software"] = Field(default="tpm", description='"tpm" or "software"')
    tcti: str = Field(
        default="device:/dev/tpmrm0",
        pattern=r"^\w+(:.+)?$",
        description='a TPM interface such as "device:/dev/tpmrm0" or "swtpm:host=127.0.0.1,port=2321"',
    )


class StreamSection(Section):
    """How time is divided: PROTOCOL.md, "Words"."""

    unit_ms: int = Field(
        default=1000, ge=1, le=MAX_UNIT_MS, description=f"a whole number from 1 to {MAX_UNIT_MS} (1 h)"
    )
    link_units: int = Field(default=3600, ge=1, le=2**20, description=f"a whole number from 1 to {2**20}")
    chunk_units: int = Field(default=900, ge=1, le=2**20, description=f"a whole number from 1 to {2**20}")

    @field_validator("chunk_units")
    @classmethod
    def _fills_a_link(cls, chunk_units: int, info: ValidationInfo) -> int:
        link_units = info.data.get("link_units", chunk_units)
        if link_units % chunk_units:
            raise ValueError(f"it must divide link_units, {link_units}, so that whole chunks fill a link")
        return chunk_units


class Config(Section):
    """The whole file. At least it has [store] with its url, and one [[meter]]."""

    gateway: GatewaySection = Field(default=GatewaySection(), description="a table [gateway]")
    clock: ClockSection = Field(default=ClockSection(), description="a table [clock]")
    trust: TrustSection = Field(default=TrustSection(), description="a table [trust]")
    stream: StreamSection = Field(default=StreamSection(), description="a table [stream]")
    store: StoreSection = Field(description='a table [store] with url = "s3://bucket" or a folder')
    meter: Annotated[tuple[MeterSection, ...], Field(strict=False)] = Field(
        description="a table [[meter]], in two brackets, for each meter"
    )
    series: Annotated[tuple[SeriesSection, ...], Field(strict=False)] = Field(
        default=(), description="a table [[series]], in two brackets, for each series of values"
    )

    commands: Annotated[tuple[CommandsSection, ...], Field(strict=False)] = Field(
        default=(),
        description="a table [[commands]], in two brackets, for each provider whose commands are carried out",
    )
    updates: UpdatesSection = Field(default=UpdatesSection(), description="a table [updates]")

    @field_validator("meter")
    @classmethod
    def _some(cls, meters: tuple[MeterSection, ...]) -> tuple[MeterSection, ...]:
        if not meters:
            raise PydanticCustomError("missing", "no meter")
        return meters

    @property
    def names(self) -> tuple[str, ...]:
        """Those of all meters and series: each has a stream of its own."""
        return (*(meter.name for meter in self.meter), *(series.name for series in self.series))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a file. The UsageError has a line for each mistake, a whole sentence."""
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(
                f"{path}: there is no such file; `gateway config example` prints one to start from"
            ) from None
        except PermissionError:
            raise UsageError(
                f"{path}: the file is closed to this user: use sudo, or join its group{_group(path)}"
            ) from None
        except OSError as error:
            raise UsageError(f"{path}: the file cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"{path}: this is not UTF-8 text, as a TOML file must be") from None
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{path}: this is not valid TOML: {error}") from None
        except (ValueError, RecursionError):
            raise UsageError(
                f"{path}: this is not TOML that can be read: it has a huge number, or is nested too deeply"
            ) from None
        try:
            return cls.model_validate(raw, context=Load(path))
        except ValidationError as error:
            # `from None`: pydantic's error holds the file's values, and a misplaced secret is one.
            raise UsageError("\n".join(sentences(path, raw, cls, error))) from None


def _group(path: Path) -> str:
    """The name of a file's group, behind a space; empty where it has none or cannot be seen."""
    try:
        return f" {path.group()}"
    except (OSError, KeyError):
        return ""


def example() -> str:
    """A commented file to start from."""
    return resources.files("gateway.config").joinpath("example.toml").read_text(encoding="utf-8")
