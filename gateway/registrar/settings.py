"""The registrar's configuration: `registrar.toml`, checked as a whole before anything starts.

It may not hold secrets: the database's password and the store's credentials have files of their own.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from gateway.chain.layout import DAY_MS
from gateway.errors import UsageError
from gateway.host.files import read_private
from gateway.store.location import Addressing, Location

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ADVICE = "give the path of a file with an access key and a secret key as credentials in [store]"
_DATABASE_FILE = "registrar.sqlite"


def _from_the_file(path: Path, info: ValidationInfo) -> Path:
    """A relative path is relative to the file's folder, wherever the command was started."""
    if str(path).startswith("~"):
        raise ValueError("write the whole path: ~ is a different folder for each user")
    return info.context / path if isinstance(info.context, Path) else path


FilePath = Annotated[Path, Field(strict=False), AfterValidator(_from_the_file)]


class Section(BaseModel):
    """A table of the file. A field's `description` completes "it must be ..."."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )


class RegistrarSection(Section):
    """Who the registrar is, and what it accepts."""

    name: str = Field(
        min_length=1, max_length=80, pattern=r"^\S(.*\S)?$", description="a name of 1 to 80 characters"
    )
    state: FilePath = Field(default=Path("/var/lib/gateway-registrar"), description="a folder")
    software_roots: bool = Field(default=False, description="true or false")
    ek_roots: FilePath | None = Field(
        default=None, description="a folder with the root certificates of TPM makers, PEM or DER"
    )
    certificate_days: int = Field(default=365, ge=1, le=3650, description="a whole number from 1 to 3650")

    @property
    def validity_ms(self) -> int:
        return self.certificate_days * DAY_MS


class ListenSection(Section):
    """Where it answers, and with which TLS certificate."""

    host: str = Field(default="127.0.0.1", pattern=r"^[^\s/]+$", description='an address such as "0.0.0.0"')
    port: int = Field(default=8443, ge=0, le=65535, description="a whole number from 0 to 65535")
    certificate: FilePath | None = Field(default=None, description="the path of a PEM file")
    key: FilePath | None = Field(default=None, description="the path of a PEM file")

    @model_validator(mode="after")
    def _with_tls(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise PydanticCustomError("whole", "needs both certificate and key, or neither")
        if self.certificate is None and self.host not in _LOOPBACK:
            raise PydanticCustomError(
                "whole",
                "has no TLS certificate and key: passwords would cross the network in clear. Give both, or "
                'host = "127.0.0.1" behind a proxy that has them',
            )
        return self


class DatabaseSection(Section):
    """Where the accounts and certificates lie; without a URL in SQLite, in the state folder."""

    url: str | None = Field(
        default=None,
        pattern=r"^(sqlite\+aiosqlite|mysql\+asyncmy|mariadb\+asyncmy)://",
        description='"mysql+asyncmy://USER@HOST/NAME" for a MariaDB server, without a password',
    )
    password: FilePath | None = Field(
        default=None, description="the path of a file of mode 0600 that holds nothing but the password"
    )


class LoadsSection(Section):
    """The summing service of loads: its own identity, and over how many households it sums at least."""

    key: FilePath = Field(description="the folder of `gateway provider new` that is the service's identity")
    k_min: int = Field(default=2, ge=2, le=2**32, description="a whole number of at least 2")


class StoreSection(Section):
    """The bucket of the households' streams, and whose credentials give others some of its rights. It may be
    a folder, for a trial on one machine: then there are no credentials."""

    url: str = Field(
        pattern="^(s3://|/)", description='"s3://bucket", "s3://bucket/prefix", or a folder\'s whole path'
    )
    endpoint: str | None = Field(
        default=None, description='the S3 server\'s address, such as "https://s3.example.org"'
    )
    region: str | None = Field(
        default=None, pattern="^[A-Za-z0-9-]{1,63}$", description='a region, such as "eu-central-1"'
    )
    addressing: Addressing | None = Field(default=None, description='"path" or "virtual"')
    ca: FilePath | None = Field(default=None, description="the path of a PEM file")
    credentials: FilePath | None = Field(
        default=None,
        description="the path of a file of mode 0600 with the lines access_key_id=... and "
        "secret_access_key=...",
    )
    role: str = Field(
        default="arn:aws:iam::000000000000:role/gateway",
        pattern=r"^arn:[\w:/+=,.@-]{10,200}$",
        description="the ARN of the role that the store's STS lets the registrar assume",
    )
    credential_hours: float = Field(default=12, ge=0.25, le=12, description="a number of hours, 0.25 to 12")

    @field_validator("url")
    @classmethod
    def _bucket(cls, url: str) -> str:
        try:
            return Location.parse(url).url
        except UsageError as error:
            raise ValueError(str(error)) from None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of this machine."""
        return self.url.startswith("/")

    @property
    def credential_seconds(self) -> int:
        """How long the storage credentials that are given out last."""
        return round(self.credential_hours * 3600)

    def location(self) -> Location:
        """The bucket with the registrar's own credentials. UsageError where their file is missing, malformed
        or open to every user; the error never shows a line of it."""
        keys = {} if self.credentials is None else _read_credentials(self.credentials)
        place = Location.parse(
            self.url,
            self.endpoint,
            self.region,
            keys.get("access_key_id"),
            keys.get("secret_access_key"),
            addressing=self.addressing,
            ca=self.ca,
        )
        return replace(place, advice=_ADVICE)


class Settings(Section):
    """The whole file. At least it has [registrar] with its name."""

    registrar: RegistrarSection = Field(description='a table [registrar] with name = "..."')
    listen: ListenSection = Field(default=ListenSection(), description="a table [listen]")
    database: DatabaseSection = Field(default=DatabaseSection(), description="a table [database]")
    store: StoreSection | None = Field(default=None, description="a table [store]")
    loads: LoadsSection | None = Field(default=None, description="a table [loads], beside [store]")

    @field_validator("loads")
    @classmethod
    def _has_store(cls, loads: LoadsSection | None, info: ValidationInfo) -> LoadsSection | None:
        if loads is not None and "store" in info.data and info.data["store"] is None:
            raise PydanticCustomError(
                "whole", "needs [store]: the summing service reads the households' tokens there"
            )
        return loads

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a file. The UsageError has a line for each mistake, a whole sentence."""
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(
                f"{path}: there is no such file; `gateway registrar example` prints one to start from"
            ) from None
        except OSError as error:
            raise UsageError(f"{path}: the file cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"{path}: this is not UTF-8 text, as a TOML file must be") from None
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}: this is not valid TOML: {error}") from None
        try:
            return cls.model_validate(raw, context=path.absolute().parent)
        except ValidationError as error:
            # `from None`: pydantic's error holds the file's values, and a misplaced secret is one.
            mistakes = error.errors(include_url=False)
            raise UsageError("\n".join(f"{path}: {_sentence(one)}." for one in mistakes)) from None

    @property
    def database_url(self) -> str:
        """The database's SQLAlchemy URL, without its password."""
        return self.database.url or f"sqlite+aiosqlite:///{self.registrar.state / _DATABASE_FILE}"

    def database_password(self) -> str | None:
        """The database's password; UsageError where its file cannot be read or is open to every user."""
        if self.database.password is None:
            return None
        return read_private(self.database.password, "the database's password").decode().strip()


def example() -> str:
    """A commented file to start from."""
    return resources.files("gateway.registrar").joinpath("example.toml").read_text(encoding="utf-8")


def _sentence(mistake: ErrorDetails) -> str:
    """What is wrong with one value, which is never shown: it may be a misplaced secret."""
    loc = [str(part) for part in mistake["loc"]]
    where = f"[{loc[0]}]{' ' + '.'.join(loc[1:]) if loc[1:] else ''}"
    match mistake["type"]:
        case "extra_forbidden":
            known = ", ".join(_fields(loc[:-1]))
            return f"{where} is unknown; known here are {known}"
        case "whole":
            return f"{where} {mistake['msg']}"
    right = _fields(loc[:-1])[loc[-1]].description
    match mistake["type"]:
        case "missing":
            return f"{where} is missing; give {right}"
        case "value_error":
            return f"{where} is invalid: {mistake['ctx']['error']}"
    return f"{where} is invalid; it must be {right}"


def _fields(table: list[str]) -> dict[str, Any]:
    sections: dict[str, type[Section]] = {
        "registrar": RegistrarSection,
        "listen": ListenSection,
        "database": DatabaseSection,
        "store": StoreSection,
        "loads": LoadsSection,
    }
    return dict((sections[table[0]] if table else Settings).model_fields)


def _read_credentials(path: Path) -> dict[str, str]:
    lines = read_private(path, "the store's credentials").decode(errors="replace").splitlines()
    pairs = [line.partition("=") for line in lines if line.strip() and not line.lstrip().startswith("#")]
    values = {key.strip(): value.strip() for key, _, value in pairs}
    if sorted(values) != ["access_key_id", "secret_access_key"] or not all(values.values()):
        raise UsageError(
            f'{path} must have two lines, "access_key_id=..." and "secret_access_key=...", each once'
        )
    return values
