"""The table of meters in README.md, written from the profiles.

`python -m gateway.meters.table` writes it anew, between the two markers; a test compares the two.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from gateway.meters.dlms.application import association
from gateway.meters.dlms.polled.model import DlmsModel
from gateway.meters.dlms.push.model import DlmsPushModel
from gateway.meters.iec62056.model import TextModel
from gateway.meters.mbus.model import MbusModel
from gateway.meters.modbus.model import ModbusModel
from gateway.meters.p1.model import P1Model
from gateway.meters.profile import Profile, load_profile, package_ids
from gateway.meters.reading import LANES
from gateway.meters.speedwire.model import SpeedwireModel

README = Path(__file__).with_name("README.md")
BEGIN = "<!-- the table: written by `python -m gateway.meters.table` -->"
END = "<!-- the end of the table -->"

_SECTIONS = {  # of README.md
    "modbus": "[Modbus](#modbus)",
    "sunspec": "[SunSpec Modbus](#modbus)",
    "sml": "[SML](#sml)",
    "p1": "[P1](#p1)",
    "speedwire": "[Speedwire](#speedwire)",
    "dlms-push": "[DLMS push](#dlms-push)",
    "dlms": "[DLMS polled](#dlms-polled)",
    "text": "[Text, polled](#text)",
    "text-push": "[Text](#text)",
    "tic": "[TIC](#tic)",
    "mbus-push": "[M-Bus](#m-bus)",
}


def table() -> str:
    """The table in Markdown, sorted by the names on the meters; neighbours with one profile share a row.
    Below it, the names under which the same meters are also sold."""
    profiles = [load_profile(profile_id) for profile_id in package_ids()]
    named = [(product, profile) for profile in profiles for product in profile.products]
    named.sort(key=lambda one: one[0].casefold())
    rows = [("on the meter", "profile", "wiring", "in `[[meter]]`", "status"), ("---",) * 5]
    for profile, neighbours in groupby(named, key=lambda one: one[1]):
        wiring = f"{_SECTIONS[profile.protocol]}, {profile.reached_by}"
        products = "; ".join(product for product, _ in neighbours)
        rows.append((products, f"`{profile.id}`", wiring, _keys(profile) + _lanes(profile), profile.status))
    also = [("also sold as", "profile"), ("---",) * 2]
    also += sorted((name, f"`{profile.id}`") for profile in profiles for name in profile.also)
    return "\n\n".join("\n".join(f"| {' | '.join(row)} |" for row in one) for one in (rows, also))


def with_table(text: str) -> str:
    """README.md's text with the table as it is now. ValueError where the markers are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks the lines {BEGIN} and {END}, between which the table stands")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def _keys(profile: Profile) -> str:
    """The keys of a [[meter]] that lead to this meter, beside its name and profile."""
    model = profile.model
    if isinstance(model, ModbusModel) and model.udp:
        return "`udp`, `unit_id`"
    if isinstance(model, SpeedwireModel):
        return "`multicast`"
    place = "`tcp`" if profile.serial is None else "`serial`"
    if profile.on_modbus:
        return f"{place}, `unit_id`" if profile.serial is None else "`serial` or `tcp`, `unit_id`"
    match model:
        case MbusModel(encrypted=True) | P1Model(encrypted=True) | DlmsPushModel(encrypted=True):
            return f"{place}, `keys`"
        case DlmsPushModel():
            return f"{place}; `keys` if it encrypts"
        case TextModel():
            return f"{place}, `interval_s`"
        case DlmsModel() if model.security.counts or model.security.mechanism != association.NONE:
            return f"{place}, `keys`"
    return place


def _lanes(profile: Profile) -> str:
    """The key that must name the lanes where the meter lacks one: by default a [[meter]] has all."""
    return "" if set(LANES) <= set(profile.lanes) else ", `lanes`"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text("utf-8")), "utf-8")
