"""The table of all parsers that read what others wrote."""

from __future__ import annotations

from tests.fuzz import dlms, dlms_session, files, modbus, objects, pushes, sml, speedwire, texts
from tests.fuzz.engine import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for room in (modbus, dlms, dlms_session, pushes, sml, speedwire, texts, files, objects)
    for target in room.TARGETS
}
