"""[mqtt.home] and [mqtt.utility]: the brokers, and what opens them.

Certificates, keys and passwords are files of their own: a path, or the name of a systemd credential.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from gateway.config.credential import credential_path
from gateway.config.section import FilePath, Section, from_the_file
from gateway.errors import UsageError
from gateway.host.files import read_private

if TYPE_CHECKING:
    from gateway.mqtt.broker import Access

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_TOPIC = r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"
_CREDENTIAL = r"^(\.{0,2}/.+|[\w.-]+)$"


def _from_the_file(value: str | None, info: ValidationInfo) -> str | None:
    return str(from_the_file(Path(value), info)) if value and "/" in value else value


Credential = Annotated[str | None, AfterValidator(_from_the_file)]


class Broker(Section):
    """What both brokers have."""

    url: str = Field(description='an address such as "mqtts://broker.example.org:8883"')
    ca: FilePath | None = Field(
        default=None, description='the path of a PEM file, such as "/etc/gateway/broker-ca.pem"'
    )
    certificate: Credential = Field(
        default=None,
        pattern=_CREDENTIAL,
        description="the path of a PEM file, or the name of a systemd credential",
    )
    key: Credential = Field(
        default=None,
        pattern=_CREDENTIAL,
        description="the path of a PEM file, closed to other users, or the name of a systemd credential",
    )
    client_id: str | None = Field(
        default=None, pattern="^[A-Za-z0-9_-]{1,64}$", description="up to 64 letters, digits, - and _"
    )

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            # "whole": the sentence must not show the value.
            raise PydanticCustomError("whole", "url holds a login; it belongs into a file of its own")
        try:
            good = parts.scheme in _PORTS and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError('it must be an address such as "mqtts://broker.example.org:8883"')
        return url.rstrip("/")

    @field_validator("key")
    @classmethod
    def _with_certificate(cls, key: str | None, info: ValidationInfo) -> str | None:
        if (key is None) != (info.data.get("certificate") is None):
            raise PydanticCustomError("whole", "needs both certificate and key, or neither")
        return key

    def _access(self, section: str, client_id: str, session_s: int) -> Access:
        from gateway.mqtt.broker import Access  # noqa: PLC0415 - paho-mqtt takes 1 MiB

        parts = urlsplit(self.url)
        certificate, key = (
            None if named is None else _file(named, what, f"[{section}] {what}")
            for named, what in ((self.certificate, "certificate"), (self.key, "key"))
        )
        if key is not None:
            read_private(key, "the key of the broker's certificate")
        return Access(
            host=parts.hostname or "",
            port=parts.port or _PORTS[parts.scheme],
            tls=parts.scheme == "mqtts",
            client_id=self.client_id or client_id,
            ca=self.ca,
            certificate=certificate,
            key=key,
            session_s=session_s,
        )


class HomeBroker(Broker):
    """The household's own broker, the one that Home Assistant uses. Readings go there in clear."""

    username: str | None = Field(default=None, min_length=1, max_length=128, description="a user's name")
    password: Credential = Field(
        default=None,
        pattern=_CREDENTIAL,
        description="the path of a file with the password alone, or the name of a systemd credential",
    )
    topics: str = Field(
        default="gateway", pattern=_TOPIC, max_length=64, description='the beginning of all topics: "gateway"'
    )
    discovery_prefix: str = Field(
        default="homeassistant",
        pattern=_TOPIC,
        max_length=64,
        description='Home Assistant\'s discovery prefix, "homeassistant" unless it was changed there',
    )

    @field_validator("password")
    @classmethod
    def _with_username(cls, password: str | None, info: ValidationInfo) -> str | None:
        if (password is None) != (info.data.get("username") is None):
            raise PydanticCustomError("whole", "needs both username and password, or neither")
        return password

    def access(self) -> Access:
        """How to reach it; UsageError where a file is missing, or open to every user."""
        password = None
        if self.password is not None:
            key = "[mqtt.home] password"
            data = read_private(_file(self.password, "mqtt-password", key), "the broker's password")
            try:
                password = data.decode().strip("\r\n")
            except UnicodeDecodeError:
                raise UsageError(f"{key}: the file does not hold a password: it is not UTF-8 text") from None
        access = self._access("mqtt.home", "gateway-household", 0)
        return replace(access, username=self.username, password=password)


class UtilityBroker(Broker):
    """The utility's broker: it is entered with a certificate for this gateway's kid alone, over TLS."""

    @field_validator("url")
    @classmethod
    def _encrypted(cls, url: str) -> str:
        if not url.startswith("mqtts://"):
            raise ValueError('it must begin with "mqtts://": a utility\'s broker is reached over TLS only')
        return url

    @field_validator("key")
    @classmethod
    def _needed(cls, key: str | None) -> str | None:
        if key is None:
            raise PydanticCustomError("whole", "needs certificate and key: they open a utility's broker")
        return key

    def access(self, kid: str) -> Access:
        """How the gateway with this kid (hexadecimal) reaches it; UsageError where a file is missing, or
        open to every user."""
        return self._access("mqtt.utility", f"gw1-{kid}", SESSION_S)


SESSION_S = 7 * 86_400
"""How long the utility's broker keeps commands for a gateway that is away; each says itself until when it
may be carried out."""


class MqttSection(Section):
    """The brokers of the household's daemon: one's own, and the utility's."""

    home: HomeBroker | None = Field(default=None, description="a table [mqtt.home]")
    utility: UtilityBroker | None = Field(default=None, description="a table [mqtt.utility]")


def _file(named: str, usual: str, key: str) -> Path:
    path = credential_path(named, usual, key=key, unit="gateway-household.service")
    assert path is not None  # as something is named
    return path
