"""The first-boot file, gateway.toml on the card's FAT partition, which its owner writes on any computer.

It is the gateway's configuration and one table more, in which everything may be left out:

    [first-boot]
    hostname = "gateway"              # the page is then at https://gateway.local:8443
    setup-code = "abcde-fghjk"        # with which the home's first password is chosen; made up where missing
    wifi = { country = "DE", ssid = "...", password = "..." }
    ssh-key = "ssh-ed25519 AAAA..."   # SSH stays off without one
    s3 = { access-key-id = "...", secret-access-key = "..." }
    meter-keys = { encryption-key = "...", authentication-key = "...", password = "..." }

The meter's keys are those of the meter named "main": one or some of the three, as it needs them, where its
`keys` name no others. A file of
comments only, or an empty one, has nothing to take over. One with this table alone leaves the configuration
to the page. No sentence about a mistake shows a value that could be a secret.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import UsageError
from gateway.host.codes import is_setup_code

NAME = "gateway.toml"
TABLE = "first-boot"
MOST_BYTES = 256 * 1024
_MOST_LEVELS = 16  # of tables and lists within each other: a configuration has five at most

Check = Callable[[str], Sequence[str]]
"""What is wrong with a configuration's text: sentences such as "[stream] unit_ms is 0; it must be ..."."""

_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_COUNTRY = re.compile("[A-Z]{2}")
_PASSWORD = re.compile(r"[\x20-\x7e]{8,63}|[0-9A-Fa-f]{64}")
_S3_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_METER = "main"  # whose keys the unit's credential meter-main holds
_METER_KEY = re.compile(r"[0-9A-Fa-f]{32}")
_METER_PASSWORD = re.compile(r"[\x20-\x7e]{1,64}")
_SSH_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


@dataclass(frozen=True, slots=True)
class Wifi:
    """A Wi-Fi network with a WPA2 password. `country` is ISO 3166-1's two letters, which decide on channels
    and power."""

    country: str
    ssid: str
    password: str = field(repr=False)

    def key(self) -> str:
        """The pre-shared key, 64 hexadecimal digits: the password itself where that is one, or else derived
        from it (IEEE 802.11-2020, J.4.1: PBKDF2 with HMAC-SHA-1, 4096 times, salted with the SSID)."""
        if len(self.password) == 64:
            return self.password.lower()
        return hashlib.pbkdf2_hmac("sha1", self.password.encode(), self.ssid.encode(), 4096, 32).hex()


@dataclass(frozen=True, slots=True)
class S3Keys:
    """The keys of the store's S3 server."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MeterKeys:
    """The keys of the meter named "main" (`gateway.meters.secrets`), of 32 hexadecimal digits, and its
    password; None for what is not given."""

    encryption_key: str | None = field(default=None, repr=False)
    authentication_key: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OwnerFile:
    """What a first-boot file asks for; None for what it leaves out. `configuration` is the text of the
    gateway's own gateway.toml."""

    configuration: str | None = None
    hostname: str | None = None
    setup_code: str | None = field(default=None, repr=False)
    wifi: Wifi | None = None
    ssh_key: str | None = None
    s3: S3Keys | None = None
    meter_keys: MeterKeys | None = None
    software: bool = False
    """Whether the configuration says that there is no TPM: [trust] root = "software"."""


def tables(text: str) -> dict[str, Any]:
    """The file's tables; empty where it has none. UsageError, with the line, for what is not TOML."""
    extreme = UsageError(f"{NAME} has a huge number, or is nested too deeply: a configuration has neither")
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        wrong = str(error)
    except (ValueError, RecursionError):
        raise extreme from None
    else:
        if _is_deep(found):
            raise extreme
        return found
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", wrong, re.DOTALL)
    where, what = (f", line {match[2]}, column {match[3]}", match[1]) if match else (", its end", wrong)
    raise UsageError(
        f'{NAME}{where}: this is not TOML as `name = "text"` or `[table]`: {what.partition(" (at")[0]}'
    )


def _is_deep(value: object) -> bool:
    """Whether it has more levels than _MOST_LEVELS. Dotted keys make levels without any limit of TOML's."""
    level: list[Any] = [value]
    for _ in range(_MOST_LEVELS):
        inner = [
            one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)
        ]
        level = [one for values in inner for one in values]
    return bool(level)


def parse(data: bytes, check: Check) -> OwnerFile | None:
    """The file `data`, checked as a whole; None where it has nothing to take over. UsageError with a line for
    each mistake: a sentence that begins with the file's name and line."""
    if len(data) > MOST_BYTES:
        raise UsageError(f"{NAME} has {len(data)} bytes, and may have {MOST_BYTES}")
    try:
        text = data.decode("utf-8-sig")  # an editor of Windows puts its mark in front
    except UnicodeDecodeError:
        raise UsageError(f"{NAME} is not UTF-8 text: save it as plain text in UTF-8") from None
    raw = tables(text)
    if not raw:
        return None
    table = raw.pop(TABLE, {})
    mistakes: list[str] = []
    configuration = _without_table(text) if raw else None
    if not isinstance(table, dict) or (configuration is not None and tables(configuration) != raw):
        mistakes.append(f"[{TABLE}] must be a table, with this header on a line of its own")
    elif configuration is not None:
        mistakes += check(configuration)
    found = _table(table, mistakes) if isinstance(table, dict) else {}
    if "meter_keys" in found and configuration is not None:
        mistakes += unused(raw)
    if mistakes:
        raise UsageError("\n".join(f"{NAME}{_line(text, one)}: {one}" for one in mistakes))
    return OwnerFile(configuration, software=_root(raw) == "software", **found)


def _root(raw: Mapping[str, Any]) -> object:
    trust = raw.get("trust")
    return trust.get("root") if isinstance(trust, dict) else None


def unused(raw: Mapping[str, Any]) -> list[str]:
    """Why no meter of a configuration would use the keys of [first-boot]; a meter without a name is another
    mistake."""
    meters = raw.get("meter")
    found = [one for one in meters if isinstance(one, dict)] if isinstance(meters, list) else []
    own = f'[{TABLE}] meter-keys are for the meter named "{_METER}"'
    if all(isinstance(name := one.get("name"), str) and name != _METER for one in found):
        return [f"{own}, and no [[meter]] here has that name"]
    if any(one.get("name") == _METER and one.get("keys") not in (None, f"meter-{_METER}") for one in found):
        return [f"{own}, whose keys are elsewhere by its own line: leave that line, or these keys, out"]
    return []


def _without_table(text: str) -> str:
    """The text without the table [first-boot] and those below it; its other lines as they are. Comments right
    above a header belong to that table, but for those with a "=", which may be secrets of [first-boot] that
    were commented out."""
    kept: list[str] = []
    above: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        if header := re.match(r"\s*\[\[?\s*[\"']?([\w-]+)", line):
            inside = header[1] == TABLE
            kept += [] if inside else above
        about_next = inside and line.lstrip().startswith("#") and "=" not in line
        above = [*above, line] if about_next else []
        if not inside:
            kept.append(line)
    return "".join(kept)


def _table(table: dict[str, Any], mistakes: list[str]) -> dict[str, Any]:
    """The values of [first-boot] as an OwnerFile's; what is wrong is added to the mistakes."""
    readers: dict[str, Callable[[Any], Any]] = {
        "hostname": _hostname,
        "setup-code": _setup_code,
        "wifi": _wifi,
        "ssh-key": _ssh_key,
        "s3": _s3,
        "meter-keys": _meter_keys,
    }
    found = {}
    for key, value in table.items():
        if key not in readers:
            near = difflib.get_close_matches(key, readers, n=1)
            if near:
                mistakes.append(f"[{TABLE}] {key} is unknown; did you mean {near[0]}?")
            else:  # not shown: it may be a secret that stands in the wrong place
                mistakes.append(f"[{TABLE}] has a key that is none of {', '.join(readers)}")
            continue
        try:
            found[key.replace("-", "_")] = readers[key](value)
        except UsageError as error:
            mistakes.append(f"[{TABLE}] {key} {error}")
    return found


def _hostname(value: object) -> str:
    if not isinstance(value, str) or not _HOSTNAME.fullmatch(value):
        raise UsageError('must be a name of a to z, 0 to 9 and "-", of 63 characters at most, without a dot')
    return value


def _setup_code(value: object) -> str:
    if not isinstance(value, str) or not is_setup_code(value.lower()):
        raise UsageError(
            "must be two groups of five of the letters a to z and digits 2 to 9 without i, l and o, such as "
            '"abcde-fghjk"'
        )
    return value.lower()


def _strings(value: object, *keys: str) -> list[str]:
    form = "{ " + ", ".join(f'{key} = "..."' for key in keys) + " }"
    given = value if isinstance(value, dict) else {}
    if set(given) != set(keys) or not all(isinstance(one, str) for one in given.values()):
        raise UsageError(f"must be {form}, with these keys and no other")
    return [given[key] for key in keys]


def _wifi(value: object) -> Wifi:
    country, ssid, password = _strings(value, "country", "ssid", "password")
    if not _COUNTRY.fullmatch(country):
        raise UsageError('has a country that must be its two capital letters, such as "DE"')
    if not 1 <= len(ssid.encode()) <= 32:
        raise UsageError("has an ssid that must be 1 to 32 bytes long")
    if not _PASSWORD.fullmatch(password):
        raise UsageError(
            "has a password that must be 8 to 63 letters, digits and signs of ASCII, or a key of 64 "
            "hexadecimal digits"
        )
    return Wifi(country, ssid, password)


def _ssh_key(value: object) -> str:
    advice = 'must be one line of a .pub file, such as "ssh-ed25519 AAAA... name"'
    if not isinstance(value, str) or not value.isprintable():
        raise UsageError(advice)
    words = value.split(maxsplit=2)
    if "PRIVATE KEY" in value:
        raise UsageError(f"is a private key, which belongs on no other computer; it {advice}")
    if len(words) < 2 or words[0] not in _SSH_TYPES:
        raise UsageError(advice)
    try:
        blob = base64.b64decode(words[1], validate=True)
    except ValueError:  # binascii.Error, or a letter that is not ASCII
        raise UsageError(f"is damaged; it {advice}") from None
    # RFC 4253, section 6.6: the blob begins with the key's type once more.
    kind = words[0].encode()
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind) or len(blob) < 4 + len(kind) + 32:
        raise UsageError(f"is damaged; it {advice}")
    return value.strip()


def _s3(value: object) -> S3Keys:
    keys = _strings(value, "access-key-id", "secret-access-key")
    if not all(map(_S3_KEY.fullmatch, keys)):
        raise UsageError("has a key that is empty, or has a space or a sign that is not ASCII")
    return S3Keys(*keys)


def _meter_keys(value: object) -> MeterKeys:
    forms = {"encryption-key": _METER_KEY, "authentication-key": _METER_KEY, "password": _METER_PASSWORD}
    given = value if isinstance(value, dict) else {}
    if not given or not set(given) <= set(forms):
        raise UsageError(f"must be a table with one or some of {', '.join(forms)}, and no other key")
    for name, one in given.items():
        if not isinstance(one, str) or not forms[name].fullmatch(one):
            right = "1 to 64 printable characters of ASCII" if name == "password" else "32 hexadecimal digits"
            raise UsageError(f"has {name}, which must be a string of {right}")
    return MeterKeys(**{name.replace("-", "_"): one for name, one in given.items()})


def _line(text: str, sentence: str) -> str:
    """ ", line 12" for the place that a sentence begins with, `[store] url`, `[[meter]] "main" tcp.port` or
    `[[meter]] number 2 name`; of a key that is not there, its table's line; empty where that is not there."""
    match = re.match(r'(\[\[?)([\w-]+)\]\]?(?: "([^"]*)"| number (\d+))?(?: ([\w-]+))?', sentence)
    if match is None:
        return ""
    _, table, name, number, key = match.groups()
    lines = text.split("\n")

    def headers(path: str) -> list[int]:
        return [n for n, line in enumerate(lines) if re.match(rf"\s*\[\[?\s*[\"']?{path}", line)]

    def within(head: int, pattern: str) -> list[int]:
        end = next((n for n in range(head + 1, len(lines)) if re.match(r"\s*\[", lines[n])), len(lines))
        return [n for n in range(head + 1, end) if re.match(rf"\s*[\"']?{pattern}", lines[n])]

    heads = headers(rf"{re.escape(table)}[\"']?\s*\]")
    if number is not None:
        heads = heads[int(number) - 1 :]
    elif name is not None:
        heads = [h for h in heads if within(h, rf"name\s*=\s*[\"']{re.escape(name)}[\"']")]
    found = heads[:1]
    if key is not None:
        place = re.escape(key)
        found = (
            [n for head in found for n in within(head, rf"{place}[\"']?\s*[=.]")]
            or headers(rf"{re.escape(table)}[\"']?\.[\"']?{place}")
            or found
        )
    found = found or headers(re.escape(table))
    return f", line {found[0] + 1}" if found else ""
