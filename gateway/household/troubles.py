"""What is wrong with the gateway, in sentences, each with the page on which one can do something about it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.control.documents import MeterStatus, Status
from gateway.errors import GatewayError
from gateway.household.i18n import gettext, ngettext
from gateway.household.said import said


@dataclass(frozen=True, slots=True)
class Trouble:
    """A sentence, and the path and the name of a link to what to do. What the gateway itself says in it is
    English where no catalogue has it."""

    sentence: str
    path: str
    action: str


def unreachable(error: GatewayError) -> Trouble:
    """The gateway does not answer."""
    return _doctor(gettext("The gateway does not answer: %(reason)s.") % {"reason": _clause(error)})


def troubles(status: Status) -> list[Trouble]:
    """What is wrong, what stops the most first: clock, ledger, meters, store, and the rest."""
    found = []
    if not status.clock_trusted:
        found.append(_doctor(gettext("The gateway’s clock is not set yet: readings wait until it is.")))
    elif status.clock_waits is not None:
        found.append(
            _doctor(
                gettext("The clock is not believed: %(reason)s.") % {"reason": _clause(status.clock_waits)}
            )
        )
    found += [
        _doctor(
            gettext("Another copy of the gateway’s records may have sealed readings of %(meter)s already.")
            % {"meter": doubt.meter}
        )
        for doubt in status.doubts
    ]
    for meter in status.meters:
        found += _of(meter)
    if status.store.error is not None:
        waiting = ngettext(
            "The store does not answer, and %(count)s object waits for it: %(reason)s.",
            "The store does not answer, and %(count)s objects wait for it: %(reason)s.",
            status.store.waiting,
        )
        found.append(
            _doctor(waiting % {"count": status.store.waiting, "reason": _clause(status.store.error)})
        )
    found += [_doctor(_sentence(fault)) for fault in status.faults]
    if status.registration is not None and status.registration.error is not None:
        registrar = gettext("The registrar does not answer: %(reason)s.")
        found.append(_doctor(registrar % {"reason": _clause(status.registration.error)}))
    return found


def _of(meter: MeterStatus) -> list[Trouble]:
    found = []
    named = {"meter": meter.meter}
    if meter.held is not None:
        held = gettext("Readings of %(meter)s are held until you decide: %(reason)s.")
        reason = _clause(meter.held.removeprefix(f"meter {meter.meter}: "))
        found.append(Trouble(held % {**named, "reason": reason}, "/meters", gettext("Decide")))
    if meter.error is not None:
        text = (
            gettext("No values of %(meter)s arrive: %(reason)s.")
            if meter.series
            else gettext("%(meter)s cannot be read: %(reason)s.")
        )
        found.append(
            Trouble(text % {**named, "reason": _clause(meter.error)}, "/meters", gettext("Look at the meter"))
        )
    if meter.scale is not None:
        found.append(Trouble(_sentence(meter.scale.sentence), "/meters", gettext("Look at the meter")))
    if meter.sealed_ahead is not None:
        found.append(_doctor(_sentence(meter.sealed_ahead)))
    return found


def _doctor(sentence: str) -> Trouble:
    return Trouble(sentence, "/doctor", gettext("See what to do"))


def _clause(text: object) -> str:
    """Text that a sentence goes on with."""
    return said(str(text).rstrip("."))


def _sentence(text: str) -> str:
    text = _clause(text)
    return f"{text[:1].upper()}{text[1:]}."
