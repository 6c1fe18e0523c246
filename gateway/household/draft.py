"""The configuration that the setup is making: what was tried and found good, part by part, until the whole is
written. It is kept in the state folder, so that the setup can be left and gone on with; secrets are not, they
are kept in memory until they are written with the whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel

from gateway.errors import UsageError
from gateway.host.files import write_durably
from gateway.household.i18n import gettext

USUAL_SOCKET = Path("/run/gateway/control.sock")
SECRETS = "./secrets/"
"""Where the configuration finds its secrets, beside itself."""
_HEAD = "# The gateway's configuration, as its page has made it. `gateway config check` checks it.\n\n"


class _Kept(BaseModel):
    trust: dict[str, Any]
    meters: list[dict[str, Any]]
    store: dict[str, Any]


@dataclass(slots=True)
class Draft:
    """The parts so far, as tables of the file: [trust], each [[meter]], [store]. `secrets` are what is in the
    files that they name."""

    path: Path
    trust: dict[str, Any] = field(default_factory=dict)
    meters: list[dict[str, Any]] = field(default_factory=list)
    store: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, state: Path) -> Draft:
        """The draft in a state folder; an empty one where there is none, or it is damaged."""
        path = state / "draft.json"
        try:
            kept = _Kept.model_validate_json(path.read_bytes())
        except (OSError, ValueError):
            return cls(path)
        named = [one for one in kept.meters if isinstance(one.get("name"), str)]
        return cls(path, kept.trust, named, kept.store)

    def keep(self) -> None:
        """Make the parts durable, without the secrets."""
        kept = {"trust": self.trust, "meters": self.meters, "store": self.store}
        write_durably(self.path, json.dumps(kept).encode())

    def add_meter(self, section: dict[str, Any], secrets: Mapping[str, str]) -> None:
        """Add a meter, or the same one once more. UsageError where another has its name."""
        if any(one["name"] == section["name"] and one != section for one in self.meters):
            raise UsageError(
                gettext("there is a meter %(name)s already: give this one another name")
                % {"name": section["name"]}
            )
        self.meters = [one for one in self.meters if one["name"] != section["name"]] + [section]
        self.secrets.update(secrets)
        self.keep()

    def remove_meter(self, name: str) -> None:
        """Remove a meter."""
        self.meters = [one for one in self.meters if one["name"] != name]
        self.secrets.pop(f"meter-{name}", None)
        self.keep()

    @property
    def lost(self) -> tuple[str, ...]:
        """The meters whose keys were not written yet and are not in memory any more: of an earlier run."""
        return tuple(
            one["name"] for one in self.meters if "keys" in one and f"meter-{one['name']}" not in self.secrets
        )

    def text(self, socket: Path) -> str:
        """The whole file, of a gateway that answers at this control socket."""
        tables: dict[str, Any] = {"gateway": {"socket": str(socket)}} if socket != USUAL_SOCKET else {}
        tables |= {"trust": self.trust} if self.trust else {}
        return _HEAD + tomli_w.dumps(tables | {"store": self.store, "meter": self.meters})

    def discard(self) -> None:
        """Forget it: the configuration is written."""
        self.trust, self.meters, self.store, self.secrets = {}, [], {}, {}
        self.path.unlink(missing_ok=True)
