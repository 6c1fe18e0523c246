"""The current association as an object of the meter: what a client reads first, to learn what else there is.

Association LN, class 15, version 0 (IEC 62056-6-2). Version 1 adds a reference to a security setup, which a
simulated meter does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.meters.dlms.application.association import Conformance
from gateway.meters.dlms.cosem.data import (
    Array,
    BitString,
    Enum,
    Integer,
    LongUnsigned,
    Unsigned,
    Value,
)
from gateway.meters.dlms.cosem.objects import ASSOCIATION_LN, REPLY_TO_HLS, Obis

READ, READ_WRITE = 1, 3  # access modes of attributes; 0 is none
CURRENT: Obis = REPLY_TO_HLS.obis
_NO_ACCESS, _ASSOCIATED = 0, 2
_SECRET = 7  # the attribute that nobody reads
_DLMS_VERSION = 6
_CONFORMANCE_BITS = 24
# 2.16.756.5.8, joint-iso-ccitt to DLMS UA (IEC 62056-5-3)
_DLMS_UA = (Unsigned(2), Unsigned(16), LongUnsigned(756), Unsigned(5), Unsigned(8))
_CONTEXT, _MECHANISM = Unsigned(1), Unsigned(2)


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in the object list: its attributes, from 1 on, and its methods, from 1 on, as a client may
    use them. `selectors` are those of the selective access to attribute 2."""

    class_id: int
    version: int
    code: Obis
    attributes: tuple[int, ...]
    methods: tuple[bool, ...] = ()
    selectors: tuple[int, ...] = ()

    def encoded(self) -> Value:
        """The object_list_element."""
        attributes = Array(
            (Integer(number), Enum(mode), self._selectors(number))
            for number, mode in enumerate(self.attributes, 1)
        )
        methods = Array((Integer(number), allowed) for number, allowed in enumerate(self.methods, 1))
        return (LongUnsigned(self.class_id), Unsigned(self.version), self.code, (attributes, methods))

    def _selectors(self, attribute: int) -> Value:
        return Array(map(Integer, self.selectors)) if attribute == 2 and self.selectors else None


@dataclass(frozen=True, slots=True)
class CurrentAssociation:
    """What was agreed with the client: addresses, services, the longest APDU of each side in bytes, and the
    mechanism."""

    client: int
    logical_device: int
    ciphered: bool
    conformance: Conformance
    client_longest: int
    meter_longest: int
    mechanism: int

    @property
    def listed(self) -> Listed:
        """The association in its own list: a client may read all but the secret, and prove its keys."""
        attributes = [READ] * 8
        attributes[_SECRET - 1] = _NO_ACCESS
        return Listed(ASSOCIATION_LN, 0, CURRENT, tuple(attributes), (True, False, False, False))

    def attribute(self, index: int, objects: Sequence[Listed]) -> Value:
        """Attribute `index`, which a client may read; `objects` are the other objects that it may use."""
        context = 3 if self.ciphered else 1
        conformance = BitString(f"{int(self.conformance):0{_CONFORMANCE_BITS}b}")
        values: dict[int, Value] = {
            1: CURRENT,
            2: Array(one.encoded() for one in sorted((*objects, self.listed), key=lambda one: one.code)),
            3: (Integer(self.client), LongUnsigned(self.logical_device)),
            4: (*_DLMS_UA, _CONTEXT, Unsigned(context)),
            5: (
                conformance,
                LongUnsigned(self.meter_longest),
                LongUnsigned(self.client_longest),
                Unsigned(_DLMS_VERSION),
                Integer(0),
                b"",
            ),
            6: (*_DLMS_UA, _MECHANISM, Unsigned(self.mechanism)),
            8: Enum(_ASSOCIATED),
        }
        return values[index]
