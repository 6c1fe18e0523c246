"""The homes of a fleet: a CSV file with a row for each, which becomes the home's first-boot file.

The columns, in any order, of which only the first must be there:

    home                    its name here and in the register: a to z, 0 to 9 and "-"; no two are the same
    hostname                "gateway" where it is empty
    wifi-country, wifi-ssid, wifi-password
    ssh-key
    s3-access-key-id, s3-secret-access-key
    meter-encryption-key, meter-authentication-key, meter-password
                            of the meter named "main"

Any other column fills its place in the template, a configuration in which {{column}} stands for the home's
value, as in `url = "s3://energy/{{home}}"`. Without a template the first-boot file has no configuration, and
the home makes one on its page.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.appliance.owner_file import NAME, TABLE, parse, tables
from gateway.config.check import mistakes_in
from gateway.errors import UsageError
from gateway.host.codes import new_setup_code

_COLUMNS = (
    "home",
    "hostname",
    "wifi-country",
    "wifi-ssid",
    "wifi-password",
    "ssh-key",
    "s3-access-key-id",
    "s3-secret-access-key",
    "meter-encryption-key",
    "meter-authentication-key",
    "meter-password",
)
_TABLES = {"wifi": ("country", "ssid", "password"), "s3": ("access-key-id", "secret-access-key")}
_METER_KEYS = ("encryption-key", "authentication-key", "password")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PLACE = re.compile(r"\{\{\s*([\w-]+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Home:
    """A row without a mistake. `text` is its first-boot file, in which the setup code is still missing."""

    line: int
    name: str
    hostname: str
    text: str = field(repr=False)

    def file(self, setup_code: str) -> bytes:
        """The whole first-boot file."""
        return self.text.replace(f"[{TABLE}]\n", f'[{TABLE}]\nsetup-code = "{setup_code}"\n', 1).encode()


@dataclass(frozen=True, slots=True)
class Faulty:
    """A row that no file is made of, and a sentence for each mistake in it."""

    line: int
    sentences: tuple[str, ...]


def read_homes(path: Path, template: Path | None = None) -> list[Home | Faulty]:
    """The rows of the table, in its order. UsageError where the table or the template cannot be read, or do
    not fit each other."""
    text = _read(path)
    delimiter = (
        ";" if ";" in text.partition("\n")[0] else ","
    )  # as a spreadsheet writes it where "," is decimal
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    filled = "" if template is None else _read(template)
    places = set(_PLACE.findall(filled))
    _check_template(template, filled)
    found: list[Home | Faulty] = []
    lines: dict[str, int] = {}
    try:
        columns = [one.strip() for one in next(reader, [])]
        _check_columns(path, columns, template, places)
        for cells in reader:
            if not any(map(str.strip, cells)):
                continue
            row = _row(reader.line_num, columns, cells, filled)
            name = cells[columns.index("home")].strip() if len(cells) == len(columns) else None
            if name is not None and (other := lines.setdefault(name, row.line)) != row.line:
                row = Faulty(row.line, (f"home {name} is in line {other} already",))
            found.append(row)
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: this is not CSV: {error}") from None
    if not found:
        raise UsageError(f"{path} has no home: below the line of the columns there is a line for each")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text: save it as UTF-8") from None


def _check_template(template: Path | None, text: str) -> None:
    """UsageError for a template that is not TOML whatever its places have."""
    try:
        tables(_PLACE.sub("1", text))
    except UsageError as error:
        raise UsageError(f"{template}{str(error).removeprefix(NAME)}") from None


def _check_columns(path: Path, columns: list[str], template: Path | None, places: set[str]) -> None:
    wrong = []
    if "home" not in columns:
        wrong.append("has no column home, with a name for each home: its first line names the columns")
    wrong += [f"has the column {one} twice" for one in sorted({c for c in columns if columns.count(c) > 1})]
    for column in columns if "home" in columns else ():  # without a heading they are a home's own secrets
        if column not in _COLUMNS and column not in places:
            known = ", ".join(_COLUMNS)
            wrong.append(f"has the column {column!r}, which is none of {known}, and no place in a template")
    for place in sorted(places - set(columns)):
        wrong.append(f"has no column {place}, for which {template} has a place")
    if wrong:
        raise UsageError("\n".join(f"{path} {one}" for one in wrong))


def _row(line: int, columns: list[str], cells: list[str], template: str) -> Home | Faulty:
    if len(cells) != len(columns):
        return Faulty(line, (f"there are {len(cells)} values for {len(columns)} columns",))
    row = {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}
    wrong = [
        f"{column} has a character that is not printable" for column in row if not row[column].isprintable()
    ]
    if not _NAME.fullmatch(row["home"]):
        wrong.append(f'home is {row["home"]!r}; it must be a name of a to z, 0 to 9 and "-"')
    if wrong:
        return Faulty(line, tuple(wrong))
    row["hostname"] = row.get("hostname") or "gateway"
    text = _first_boot(row) + _PLACE.sub(
        lambda place: json.dumps(row[place[1]], ensure_ascii=False)[1:-1], template
    )
    home = Home(line, row["home"], row["hostname"], text)
    try:
        owner = parse(home.file(new_setup_code()), _mistakes)
    except UsageError as error:
        # Lines of a file that is not there yet say nothing.
        found = [
            re.sub(r"^gateway\.toml(, line \d+)?(, column \d+)?: ", "", one)
            for one in str(error).splitlines()
        ]
        return Faulty(line, tuple(found))
    if owner is not None and (owner.configuration is not None) != bool(template.strip()):
        return Faulty(
            line, ("the template has no table: it is a configuration, such as `gateway config example`",)
        )
    return home


def _mistakes(text: str) -> list[str]:
    file = Path("/etc/gateway/gateway.toml")  # where it is going to stand
    return [one.removeprefix(f"{file}: ") for one in mistakes_in(text, file)]


def _first_boot(row: Mapping[str, str]) -> str:
    """The table [first-boot], without the setup code."""
    lines = [f"[{TABLE}]", f"hostname = {_toml(row['hostname'])}"]
    tables = {name: {key: row.get(f"{name}-{key}", "") for key in keys} for name, keys in _TABLES.items()}
    tables["meter-keys"] = {key: row[f"meter-{key}"] for key in _METER_KEYS if row.get(f"meter-{key}")}
    for name, given in tables.items():
        if any(given.values()):
            inner = ", ".join(f"{key} = {_toml(value)}" for key, value in given.items())
            lines.append(f"{name} = {{ {inner} }}")
    if row.get("ssh-key"):
        lines.append(f"ssh-key = {_toml(row['ssh-key'])}")
    return "\n".join([*lines, "", ""])


def _toml(text: str) -> str:
    """A TOML string. JSON's escapes are among TOML's basic strings'."""
    return json.dumps(text, ensure_ascii=False)
