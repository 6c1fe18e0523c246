"""Green Button: an Atom feed (RFC 4287) of ESPI resources (NAESB REQ.21), which customers and their
applications take from a utility.

One UsagePoint, and for each lane a MeterReading with its ReadingType and IntervalBlocks. Values are in mWh or
mW: whole numbers of 10^-3 Wh or W, so that none is rounded. The codes are those of the schema's enumerations
(espi.xsd); the order of elements is strict there. Each IntervalBlock has intervals that follow each other
within one local day; between blocks there is a gap, or midnight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from uuid import NAMESPACE_URL, uuid5
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from gateway.chain.window import zone_of
from gateway.errors import UsageError
from gateway.provider.exports.clocks import clock_rules
from gateway.provider.exports.readings import Quality, Reading
from gateway.stream.times import moment, spell

ATOM, ESPI = "http://www.w3.org/2005/Atom", "http://naesb.org/espi"
_MOST = 2**47
_MILLI = -3
_QUALITIES = {Quality.MEASURED: 0, Quality.FILLED: 9, Quality.PARTLY: 13}
"""QualityOfReading: valid, estimated using linear interpolation, mixed."""
_ELECTRICITY, _ON = 0, 1
_COMMODITY = 1  # electricity, secondary metered: on the customer's side of the last transformer
# accumulationBehaviour, dataQualifier, flowDirection, kind, uom: deltaData or indicating; normal or average;
# forward, reverse or, for power, which has a sign of its own, not applicable; energy or power; Wh or W.
_TYPES = {
    "import": (4, 12, 1, 12, 72),
    "export": (4, 12, 19, 12, 72),
    "power": (6, 2, 0, 37, 38),
}
_NAMES = {"import": "Energy imported", "export": "Energy exported", "power": "Mean power"}


def write_greenbutton(
    lanes: Mapping[str, Sequence[Reading]], stream: bytes, zone: str, interval_s: int | None, now_ms: int
) -> str:
    """The feed of these lanes of a stream, whose customer lives in the time zone. `interval_s` is the length
    of all intervals, None where it differs. UsageError for no intervals, for a value beyond 2^47 and for a
    time that is not a whole second: ESPI has neither."""
    known = {lane: found for lane, found in lanes.items() if found and lane in _TYPES}
    if not known:
        raise UsageError("there are no intervals to export: nothing of import, export or power was opened")
    first_ms = min(found[0].start_ms for found in known.values())
    for prefix, uri in (("", ATOM), ("espi", ESPI)):
        ElementTree.register_namespace(prefix, uri)
    name = stream.hex()
    point = f"/espi/1_1/resource/UsagePoint/{name}"
    feed = Element(_atom("feed"))
    _head(feed, f"/espi/1_1/resource/{name}", f"Electricity of stream {name}", now_ms)
    time = f"/espi/1_1/resource/LocalTimeParameters/{name}"
    usage = _entry(
        feed,
        point,
        "/espi/1_1/resource/UsagePoint",
        [f"{point}/MeterReading", time],
        f"Stream {name}",
        now_ms,
    )
    usage_point = SubElement(usage, _espi("UsagePoint"))
    _values(SubElement(usage_point, _espi("ServiceCategory")), kind=_ELECTRICITY)
    _values(usage_point, status=_ON)
    _local_time(
        _entry(feed, time, "/espi/1_1/resource/LocalTimeParameters", [], zone, now_ms), zone, first_ms
    )
    for lane, found in known.items():
        _lane(feed, point, lane, found, zone, interval_s, now_ms)
    ElementTree.indent(feed)
    return ElementTree.tostring(feed, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def _lane(
    feed: Element,
    point: str,
    lane: str,
    found: Sequence[Reading],
    zone: str,
    interval_s: int | None,
    now_ms: int,
) -> None:
    own = f"{point}/MeterReading/{lane}"
    kind = f"/espi/1_1/resource/ReadingType/{lane}"
    blocks = f"{own}/IntervalBlock"
    SubElement(
        _entry(feed, own, f"{point}/MeterReading", [kind, blocks], _NAMES[lane], now_ms),
        _espi("MeterReading"),
    )
    content = _entry(feed, kind, "/espi/1_1/resource/ReadingType", [], f"{_NAMES[lane]}: its type", now_ms)
    behaviour, qualifier, direction, quantity, unit = _TYPES[lane]
    _values(
        SubElement(content, _espi("ReadingType")),
        accumulationBehaviour=behaviour,
        commodity=_COMMODITY,
        dataQualifier=qualifier,
        flowDirection=direction,
        intervalLength=interval_s,
        kind=quantity,
        powerOfTenMultiplier=_MILLI,
        uom=unit,
    )
    for number, some in enumerate(_blocks(found, zone)):
        start = spell(some[0].start_ms, 1)
        content = _entry(feed, f"{blocks}/{number}", blocks, [], f"{_NAMES[lane]} from {start} on", now_ms)
        block = SubElement(content, _espi("IntervalBlock"))
        _period(block, "interval", some[0].start_ms, some[-1].end_ms)
        for one in some:
            if abs(one.value) > _MOST:
                raise UsageError(
                    f"{lane} from {spell(one.start_ms, 1)} on is {one.value} thousandths, and Green Button"
                    " has values up to 2^47: export shorter windows"
                )
            reading = SubElement(block, _espi("IntervalReading"))
            if one.quality in _QUALITIES:
                _values(SubElement(reading, _espi("ReadingQuality")), quality=_QUALITIES[one.quality])
            _period(reading, "timePeriod", one.start_ms, one.end_ms)
            _values(reading, value=one.value)


def _blocks(found: Sequence[Reading], zone: str) -> Iterator[list[Reading]]:
    """The intervals that follow each other, by local day."""
    clocks, block, day = zone_of(zone), list[Reading](), None
    for one in found:
        date = moment(one.start_ms, 1).astimezone(clocks).date()
        if block and (one.start_ms != block[-1].end_ms or date != day):
            yield block
            block = []
        block.append(one)
        day = date
    yield block


def _period(parent: Element, name: str, start_ms: int, end_ms: int) -> None:
    for ms in (start_ms, end_ms):
        if ms % 1000:
            raise UsageError(
                f"Green Button has whole seconds, and an interval ends at {spell(ms, 1)}: use --granularity"
            )
    _values(SubElement(parent, _espi(name)), duration=(end_ms - start_ms) // 1000, start=start_ms // 1000)


def _local_time(content: Element, zone: str, first_ms: int) -> None:
    clocks = zone_of(zone)
    rules = clock_rules(clocks, moment(first_ms, 1).astimezone(clocks).year)
    _values(
        SubElement(content, _espi("LocalTimeParameters")),
        dstEndRule=f"{rules.end:08X}",
        dstOffset=rules.ahead_s,
        dstStartRule=f"{rules.start:08X}",
        tzOffset=rules.offset_s,
    )


def _entry(feed: Element, own: str, up: str, related: Sequence[str], title: str, now_ms: int) -> Element:
    """A new entry of the feed; its content, to be filled with one resource."""
    entry = SubElement(feed, _atom("entry"))
    _id(entry, own)
    links = (("self", own), ("up", up), *(("related", one) for one in related))
    for rel, href in links:
        SubElement(entry, _atom("link"), rel=rel, href=href)
    SubElement(entry, _atom("title")).text = title
    content = SubElement(entry, _atom("content"))
    for name in ("published", "updated"):
        SubElement(entry, _atom(name)).text = spell(now_ms, 1)
    return content


def _head(feed: Element, own: str, title: str, now_ms: int) -> None:
    _id(feed, own)
    SubElement(feed, _atom("link"), rel="self", href=own)
    SubElement(feed, _atom("title")).text = title
    SubElement(feed, _atom("updated")).text = spell(now_ms, 1)


def _id(parent: Element, own: str) -> None:
    """The same resource has the same id in each export."""
    SubElement(parent, _atom("id")).text = f"urn:uuid:{uuid5(NAMESPACE_URL, own)}"


def _values(parent: Element, **values: object) -> None:
    for name, value in values.items():
        if value is not None:
            SubElement(parent, _espi(name)).text = str(value)


def _atom(name: str) -> str:
    return f"{{{ATOM}}}{name}"


def _espi(name: str) -> str:
    return f"{{{ESPI}}}{name}"
