"""A meter's refusals, as sentences that say what to check (IEC 62056-5-3: Data-Access-Result, Action-Result,
ExceptionResponse, ConfirmedServiceError)."""

from __future__ import annotations

from gateway.errors import MeterError
from gateway.meters.dlms.cosem.objects import Reference
from gateway.meters.dlms.octets import Octets

EXCEPTION, SERVICE_ERROR = 0xD8, 0x0E
SUCCESS, DENIED, UNDEFINED, CLASS_INCONSISTENT, TYPE_UNMATCHED, BLOCK_NUMBER_INVALID = 0, 3, 4, 9, 12, 19
_REFUSALS = {  # data-access-result and action-result
    1: "reports a hardware fault",
    2: "cannot answer at the moment",
    3: "does not allow it: this client address, or its authentication, has no right to it",
    4: "has no such object",
    9: "has this object in another class",
    11: "cannot give this object now",
    12: "does not accept a value of this type",
    13: "does not allow it within this association",
    14: "has no such block of data",
    15: "has aborted a long answer",
    16: "has no long answer in progress",
    17: "has aborted a long write",
    18: "has no long write in progress",
    19: "expects another block number",
    250: "refuses, for another reason",
}


class AccessError(MeterError):
    """The meter refuses one attribute or method, but goes on serving others. `result` is its
    data-access-result or action-result."""

    def __init__(self, target: Reference, result: int) -> None:
        super().__init__(f"the meter {_REFUSALS.get(result, f'refuses with result {result}')}: {target}")
        self.result = result


_STATES = {1: "the service is not allowed in this association", 2: "it does not know the service"}
_SERVICES = {
    1: "it cannot do that now: is the association still open?",
    2: "it does not support that",
    3: "for another reason",
    4: "the message is too long for it",
    5: "it cannot decipher the message: check the keys, the system title and the security control",
    6: "the invocation counter is too low: another client may use the same keys",
}
_SERVICE_ERRORS = {  # ServiceError's choices (IEC 62056-5-3, ConfirmedServiceError)
    0: "application reference",
    1: "hardware",
    2: "VDE state",
    3: "service",
    4: "definition",
    5: "access",
    6: "initiate",
    7: "load data set",
    9: "task",
}
_INITIATE_ERRORS = {
    1: "the DLMS version is too low for it",
    2: "it has none of the services requested",
    3: "the longest message is too short for it",
    4: "it refuses this client: check the client address, the password and the keys",
}


def is_refusal(apdu: bytes) -> bool:
    """Whether `apdu` is an exception-response or a confirmed-service-error."""
    return bool(apdu) and apdu[0] in (EXCEPTION, SERVICE_ERROR)


def refusal(apdu: bytes) -> MeterError:
    """The error that an exception-response or a confirmed-service-error reports."""
    octets = Octets(apdu, "the meter's refusal")
    try:
        if octets.number(1) == EXCEPTION:
            state, service = octets.number(1), octets.number(1)
            said = _SERVICES.get(service) or _STATES.get(state) or f"exception {state}, {service}"
            return MeterError(f"the meter refuses: {said}")
        _, kind, code = octets.number(1), octets.number(1), octets.number(1)
    except MeterError as error:
        return error
    if kind == 6 and code in _INITIATE_ERRORS:
        return MeterError(f"the meter refuses the association: {_INITIATE_ERRORS[code]}")
    return MeterError(
        f"the meter refuses: error of {_SERVICE_ERRORS.get(kind, f'kind {kind}')}, number {code}"
    )
