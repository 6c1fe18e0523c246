"""MSCONS: quarter hours of energy as Germany's market exchanges them (UN/EDIFACT D.04B, EDI@Energy 2.4c).

One interchange with one message, the load profile of a market location (Pruefidentifikator 13025) or of a
metering location (13018), in the order of the message description (BDEW, EDI@Energy MSCONS
Nachrichtenbeschreibung):

    UNA UNB UNH  BGM DTM+137 RFF+Z13  NAD+MS NAD+MR  UNS+D  NAD+DP LOC+172 DTM+163 DTM+164
      LIN PIA                                        for each lane: OBIS 1-1:1.29.0 import, 1-1:2.29.0 export
        QTY DTM+163 DTM+164 [STS+Z32 STS+Z40]        for each quarter hour
    UNT UNZ

All times are in UTC, "?+00", so days of 23 and 25 hours need nothing special: they have 92 and 100 quarter
hours. A quarter hour that is missing has no QTY. QTY is 220, a true value, or 67, a substitute: then STS says
how it was formed (Z92, interpolation) and why (Z75, a fault of communication).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import UsageError
from gateway.provider.exports.readings import Quality, Reading, check_length, kwh
from gateway.stream.times import moment

OBIS = {"import": "1-1:1.29.0", "export": "1-1:2.29.0"}
_TRUE, _SUBSTITUTE = "220", "67"
_RELEASED = re.compile(r"([+:'?])")


@dataclass(frozen=True, slots=True)
class Parties:
    """The location, and the codes of the market partners, BDEW's (99...) or GS1's. UsageError for others."""

    location: str
    sender: str
    receiver: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[1-9][0-9]{10}|DE[0-9A-Z]{31}", self.location):
            raise UsageError(
                f"{self.location!r} is neither a market location, 11 digits, nor a metering location, DE and"
                " 31 digits and capital letters"
            )
        for code in (self.sender, self.receiver):
            if not re.fullmatch("[0-9]{13}", code):
                raise UsageError(f"{code!r} is not a market partner's code: expected 13 digits")

    @property
    def kind(self) -> tuple[str, str]:
        """BGM's code and the Pruefidentifikator."""
        return ("Z48", "13025") if len(self.location) == 11 else ("7", "13018")


def write_mscons(lanes: Mapping[str, Sequence[Reading]], parties: Parties, now_ms: int) -> str:
    """The interchange, without line breaks. UsageError for intervals that are not quarter hours, and for
    none."""
    known = {lane: found for lane, found in lanes.items() if found and lane in OBIS}
    if not known:
        raise UsageError("there are no quarter hours to export: nothing of import or export was opened")
    for found in known.values():
        check_length(found, [15], "MSCONS")
    now = moment(now_ms, 1)
    reference = f"G{now:%y%m%d%H%M%S}"
    message = list(_message(known, parties, f"{reference}1", now_ms))
    header = _segment("UNH", "1", ("MSCONS", "D", "04B", "UN", "2.4c"))
    trailer = _segment("UNT", str(len(message) + 2), "1")
    return "".join(
        [
            "UNA:+.? '",
            _segment(
                *("UNB", ("UNOC", "3"), (parties.sender, _agency(parties.sender)[0])),
                *((parties.receiver, _agency(parties.receiver)[0]), (f"{now:%y%m%d}", f"{now:%H%M}")),
                *(reference, "", "TL"),
            ),
            *(header, *message, trailer),
            _segment("UNZ", "1", reference),
        ]
    )


def _message(
    known: Mapping[str, Sequence[Reading]], parties: Parties, document: str, now_ms: int
) -> Iterator[str]:
    code, check = parties.kind
    yield _segment("BGM", code, document, "9")
    yield _time("137", now_ms)
    yield _segment("RFF", ("Z13", check))
    for role, partner in (("MS", parties.sender), ("MR", parties.receiver)):
        yield _segment("NAD", role, (partner, "", _agency(partner)[1]))
    yield _segment("UNS", "D")
    yield _segment("NAD", "DP")
    yield _segment("LOC", "172", parties.location)
    yield _time("163", min(found[0].start_ms for found in known.values()))
    yield _time("164", max(found[-1].end_ms for found in known.values()))
    for number, (lane, found) in enumerate(known.items(), 1):
        yield _segment("LIN", str(number))
        yield _segment("PIA", "5", (OBIS[lane], "SRW"))
        for one in found:
            filled = one.quality in (Quality.FILLED, Quality.PARTLY)
            yield _segment("QTY", (_SUBSTITUTE if filled else _TRUE, kwh(one.value)))
            yield _time("163", one.start_ms)
            yield _time("164", one.end_ms)
            if filled:
                yield _segment("STS", "Z32", "", "Z92")
                yield _segment("STS", "Z40", "", "Z75")


def _agency(partner: str) -> tuple[str, str]:
    """The code list of a market partner's code, in UNB and in NAD: BDEW's, or GS1's."""
    return ("500", "293") if partner.startswith("99") else ("14", "9")


def _time(qualifier: str, ms: int) -> str:
    return _segment("DTM", (qualifier, f"{moment(ms, 1):%Y%m%d%H%M}+00", "303"))


def _segment(tag: str, *elements: str | tuple[str, ...]) -> str:
    """A segment; service characters within a value are released."""
    parts = [tag]
    for element in elements:
        components = (element,) if isinstance(element, str) else element
        parts.append(":".join(_RELEASED.sub(r"?\1", component) for component in components))
    return "+".join(parts) + "'"
