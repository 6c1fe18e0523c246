"""Metrics in Prometheus' text format, made of the status and of nothing else.

They hold nothing that tells of consumption or habits: no energy, no power, no request of a person. Counts
rise with time alone, since a meter is read in a fixed rhythm. A series is left out, since its values come
when something happens in the home; a meter goes by its number in the configuration, since its name may say
what is behind it; the disk's free space is rounded, since the files of the home's page grow with its use. One
count may still show an act: while the store is away, `outbox_objects` rises with each grant, and with each
chunk of a series, which holds a quarter of an hour of values or more.

Format: "Exposition formats", version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats); names by
"Metric and label naming" (prometheus.io/docs/practices/naming).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from gateway.control.documents import MeterStatus, Status
from gateway.control.health import Health

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ROUNDED = 2**24
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

_Samples = Iterable[tuple[Mapping[str, str], int | float | None]]


class _Family(NamedTuple):
    """One metric: its samples, each with its labels; a sample of None is left out."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    samples: _Samples


def render(status: Status | None) -> str:
    """The metrics of the gateway with this status, or of one that does not answer."""
    return "".join(_text(family) for family in (_up(status), *(() if status is None else _families(status))))


def _text(family: _Family) -> str:
    lines = [
        f"gateway_{family.name}{_labels(labels)} {value}\n"
        for labels, value in family.samples
        if value is not None
    ]
    if not lines:
        return ""
    name = f"gateway_{family.name}"
    return "".join((f"# HELP {name} {family.help}\n", f"# TYPE {name} {family.kind}\n", *lines))


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _up(status: Status | None) -> _Family:
    return _gauge("up", "Whether the gateway answers at its control socket.", status is not None)


def _gauge(name: str, text: str, value: float | None) -> _Family:
    return _Family(name, "gauge", text, [({}, None if value is None else _number(value))])


def _counter(name: str, text: str, value: int | None) -> _Family:
    return _Family(name, "counter", text, [({}, value)])


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else _number(ms / 1000)


def _families(status: Status) -> Iterator[_Family]:
    release = status.release
    named = {
        "version": status.version,
        "assurance": status.assurance,
        "release": "" if release is None else release.name,
        "slot": "" if release is None else release.slot or "",
    }
    store, disk = status.store, status.disk
    yield _Family("info", "gauge", "What runs: assurance is that of the root, tpm or software.", [(named, 1)])
    yield _gauge("healthy", "Whether /healthz says ok.", Health.of(status).ok)
    yield _gauge("start_time_seconds", "When this run began, Unix time.", _seconds(status.started_ms))
    yield _counter(
        "starts_total", "Starts with this ledger, each a step of the TPM's counter.", status.starts
    )
    yield _gauge("root_up", "Whether the root of trust answers.", status.root_error is None)
    yield _counter("root_errors_total", "Calls of the root, the TPM, that failed.", status.root_errors)
    yield _counter("ledger_errors_total", "Transactions of the ledger that failed.", status.ledger_errors)
    yield _gauge(
        "ledger_in_doubt", "Whether tokens wait for the ledger to be confirmed.", bool(status.doubts)
    )
    yield _gauge("clock_synchronized", "Whether the clock was set since boot.", status.clock_trusted)
    yield _gauge("clock_in_doubt", "Whether readings wait for the clock.", status.clock_waits is not None)
    yield _gauge("store_up", "Whether the store takes what is sent.", store.error is None)
    yield _counter("store_errors_total", "Requests that the store did not answer, or refused.", store.errors)
    yield _gauge(
        "store_last_answer_timestamp_seconds", "When the store last answered.", _seconds(store.answered_ms)
    )
    yield _gauge("outbox_objects", "Objects that wait to be sent to the store.", store.waiting)
    yield _gauge("faults", "Other faults that gateway status shows.", len(status.faults))
    if disk is not None:
        free = disk.free_bytes // _ROUNDED * _ROUNDED
        yield _gauge("disk_free_bytes", "Room on the disk of the state, rounded down to 16 MiB.", free)
        yield _gauge("disk_size_bytes", "Size of the disk of the state.", disk.size_bytes)
    yield from _meters([meter for meter in status.meters if not meter.series])


def _meters(meters: list[MeterStatus]) -> Iterator[_Family]:
    numbered = [({"meter": str(number)}, meter) for number, meter in enumerate(meters, 1)]
    yield _Family(
        "meter_up",
        "gauge",
        "Whether it answers, and its readings become durable. The label is its place in the configuration.",
        [(labels, int(meter.error is None)) for labels, meter in numbered],
    )
    yield _Family(
        "meter_sealing",
        "gauge",
        "Whether its readings are sealed: it answers, none is held, and the clock is believed.",
        [(labels, int(meter.sealing)) for labels, meter in numbered],
    )
    yield _Family(
        "meter_read_errors_total",
        "counter",
        "Attempts to read it that failed.",
        [(labels, meter.read_errors) for labels, meter in numbered],
    )
    yield _Family(
        "meter_readings_sealed_total",
        "counter",
        "Units of time sealed that it was read for.",
        [(labels, meter.readings_sealed) for labels, meter in numbered],
    )
    yield _Family(
        "meter_last_sealed_timestamp_seconds",
        "gauge",
        "The end of the last unit sealed, Unix time.",
        [(labels, _seconds(meter.sealed_until_ms)) for labels, meter in numbered],
    )
