"""The doctor: checks each part on its own, outside the running gateway, and says what to do."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Config, MeterSection, location
from gateway.config.store import FROM_REGISTRAR
from gateway.config.wiring import endpoints, explained, open_meters
from gateway.control.client import ControlClient
from gateway.control.documents import ReadingStatus, Status
from gateway.daemon.bound import release_gate, store_credential
from gateway.errors import (
    GatewayError,
    LedgerError,
    MeterError,
    NotMigrated,
    StoreDenied,
    Unavailable,
    UntrustedRelease,
    UsageError,
)
from gateway.host.clock import SystemClock
from gateway.ledger.database import FAILING_DISK
from gateway.ledger.ledger import Ledger
from gateway.store.opening import open_bucket
from gateway.stream.fetch import first_key
from gateway.wire import names

_LEAST_ROOM = 4 << 20  # bytes: SQLite's write-ahead log alone takes as much


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result for one part: whether it is in order, and a sentence. `sealing` is False where readings are
    not sealed until the part is in order."""

    part: str
    ok: bool
    sentence: str
    sealing: bool = True


async def examine(config: Config) -> AsyncIterator[Diagnosis]:
    """Clock, root and what it is bound to, each meter and series, ledger and store, one after the other."""
    yield _clock(config)
    root = await examine_root(config)
    yield root
    if root.part == "TPM" and root.ok:
        yield await _release_gate(config)
    credential = await asyncio.to_thread(store_credential, config)
    if credential is not None:
        yield Diagnosis("credential", config.trust.root == "software", credential)
    async for finding in _meters(config):
        yield finding
    yield await _ledger(config)
    yield await examine_store(config)


def _clock(config: Config) -> Diagnosis:
    if SystemClock(config.clock.source).trusted():
        how = "synchronised" if config.clock.source == "ntp" else 'taken as it is (clock.source = "host")'
        return Diagnosis("clock", True, how)
    advice = (
        "not synchronised, so readings wait and nothing is sealed: make sure that the machine reaches a time "
        'server (timedatectl status), or set clock.source = "host" if something else keeps this clock right'
    )
    return _stops("clock", advice)


async def examine_root(config: Config) -> Diagnosis:
    """The root of trust; nothing in it changes."""
    if config.trust.root == "software":
        return Diagnosis(
            "root", True, "in SOFTWARE: anyone who copies this machine's disk can open every reading"
        )
    try:
        from gateway.trust.tpm.health import inspect  # noqa: PLC0415 - its libraries may be missing

        health = await inspect(config.trust.tcti)
    except ImportError:
        return _stops("TPM", "its libraries are not installed; run provisioning/install.sh")
    except GatewayError as error:
        return _stops("TPM", str(error))
    what = f"{health.manufacturer}, firmware {health.firmware}, TPM 2.0 revision {health.revision}"
    if health.missing:
        missing = ", ".join(health.missing)
        return _stops("TPM", f"{what}, lacks {missing}: the gateway cannot use this model")
    if health.lockout:
        return _stops("TPM", f"{what}, in lockout: run tpm2_dictionarylockout --clear-lockout")
    return Diagnosis("TPM", True, what)


async def _release_gate(config: Config) -> Diagnosis:
    """For which releases the root opens, and whether for the one that runs."""
    part = "release gate"
    try:
        return Diagnosis(part, True, await release_gate(config))
    except UntrustedRelease as error:
        return _stops(part, str(error))
    except GatewayError as error:
        return Diagnosis(part, False, str(error))


async def _meters(config: Config) -> AsyncIterator[Diagnosis]:
    try:
        endpoints(config.meter)
    except UsageError as error:
        for sentence in str(error).splitlines():
            yield _stops("meters", sentence)
        return
    client = ControlClient(config.gateway.socket)
    try:
        running = {one.meter: one for one in await client.readings_if_running()}
        waits = _waits(await client.status()) if running else {}
    except Unavailable as error:
        yield Diagnosis("meters", False, str(error))
        return
    for section in config.meter:
        part = f"meter {section.name}"
        if section.name in running:
            yield _read_by_the_gateway(part, running[section.name], waits.get(section.name))
            continue
        yield (await examine_meter(section, config))[0]
    for series in config.series:
        part = f"series {series.name}"
        if series.name in running:
            yield _read_by_the_gateway(part, running[series.name], waits.get(series.name))
        else:
            yield Diagnosis(part, True, f"takes {', '.join(series.lanes)} while the gateway runs")


def _waits(status: Status) -> Mapping[str, str]:
    """For each meter or series whose readings the running gateway does not seal, why."""
    found = {}
    for meter in status.meters:
        why = meter.error or meter.held or meter.sealed_ahead or status.clock_waits or "nothing is sealed"
        if meter.hold is not None and why == meter.held:
            why = f"{why}: nothing is sealed; `{meter.hold.command}` shows what to do"
        if not meter.sealing:
            found[meter.meter] = why
    return found


def _read_by_the_gateway(part: str, reading: ReadingStatus, waits: str | None) -> Diagnosis:
    """The running gateway's own word on a meter, whose port is the gateway's alone: what it read, and why
    that `waits`, or None where it is sealed."""
    if (wrong := reading.error or waits) is not None:
        return _stops(part, _about(part, str(explained(MeterError(wrong)))))
    if reading.registers is None or reading.age_ns is None:
        return Diagnosis(part, True, "the running gateway waits for its first reading")
    told = ", ".join(reading.registers)
    return Diagnosis(part, True, f"read by the running gateway {reading.age_ns / 1e9:.0f} s ago: {told}")


async def examine_meter(section: MeterSection, config: Config) -> tuple[Diagnosis, Mapping[str, int] | None]:
    """How well a meter fits its profile, and its registers by lane (mWh, W), where it could be read."""
    part = f"meter {section.name}"
    clock = SystemClock(config.clock.source)
    try:
        (meter,) = open_meters((section,), clock, state=config.gateway.state).values()
        try:
            probe = await meter.probe()
            reading = await meter.read()
        finally:
            await meter.aclose()
    except GatewayError as error:
        return _stops(part, _about(part, str(explained(error)))), None
    return Diagnosis(part, probe.plausible, _about(part, probe.sentence)), reading.registers


def _about(part: str, sentence: str) -> str:
    """The sentence without the part's name, which is printed in front of it anyway."""
    return sentence.removeprefix(part).removeprefix(":").lstrip()


async def _ledger(config: Config) -> Diagnosis:
    path = config.gateway.ledger
    if not await asyncio.to_thread(_may_read, path):
        return Diagnosis("ledger", False, f"{path} is closed to this user: use sudo, or run as user gateway")
    if not await asyncio.to_thread(path.exists):
        parent = config.gateway.state
        if not await asyncio.to_thread(os.access, parent if parent.exists() else parent.parent, os.W_OK):
            return _stops(
                "ledger", f"{parent} cannot be written by this user: use sudo, or run as user gateway"
            )
        if (problem := _unwritable(parent)) is not None:
            return _stops("ledger", problem)
        return Diagnosis("ledger", True, f"none yet; the first run creates {path}")
    try:
        ledger = await Ledger.open(path, reading=True)
        try:
            wrong = await ledger.check()
            waiting = await ledger.backlog()
            doubts = [stream.meter for stream in await ledger.streams() if await ledger.doubt(stream)]
        finally:
            await ledger.close()
    except NotMigrated as error:  # expected after an update, until the gateway has started again
        return Diagnosis("ledger", True, str(error))
    except LedgerError as error:
        return _stops("ledger", str(error))
    if wrong is not None:
        return _stops("ledger", f"{path} is damaged: {wrong}. Stop the gateway and restore the latest backup")
    if (problem := _unwritable(path.parent)) is not None:
        return _stops("ledger", problem)
    if doubts:
        return Diagnosis(
            "ledger",
            False,
            f"intact, but restored or copied: tokens of meter {', '.join(doubts)} wait until the store shows "
            "what was sealed since, or `gateway ledger confirm` says that this ledger is the newest",
        )
    return Diagnosis("ledger", True, f"intact; {waiting} objects wait to be sent")


def _may_read(path: Path) -> bool:
    """Whether this user may read a file, or it is not there."""
    try:
        return not path.exists() or os.access(path, os.R_OK, effective_ids=True)
    except PermissionError:  # its folder is closed
        return False


def _unwritable(folder: Path) -> str | None:
    """A sentence where the disk that holds `folder`, or will, has no room or takes nothing; None where it
    does, or where only this user may not write there."""
    while not folder.exists():
        folder = folder.parent
    free = os.statvfs(folder)
    if (room := free.f_bavail * free.f_frsize) < _LEAST_ROOM:
        return (
            f"the disk of {folder} is full ({room >> 20} MiB are free): nothing more can be sealed; free "
            "some space on it"
        )
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1))
            file.flush()
            os.fsync(file.fileno())
    except PermissionError:
        return None
    except OSError as error:
        return f"{folder} cannot be written: {error.strerror}. {FAILING_DISK}"
    return None


def _stops(part: str, sentence: str) -> Diagnosis:
    """What is wrong with a part without which nothing is sealed."""
    return Diagnosis(part, False, sentence, sealing=False)


async def examine_store(config: Config) -> Diagnosis:
    """List, put and get a small object, as the gateway does. It stays, since the gateway needs no right to
    delete. With credentials of the registrar, which the running gateway alone has, what that says."""
    if config.store.credentials == FROM_REGISTRAR:
        return await _store_of_the_gateway(config)
    url, unseen = config.store.url, ""
    try:
        place = await asyncio.to_thread(location, config.store)
        if place.access_key is None and config.store.credentials is None and os.geteuid() != 0:
            unseen = ". Of the unit's credential s3 only root sees what it holds: sudo gateway doctor"
        bucket = open_bucket(place)
        try:
            await first_key(bucket, names.PROBE)
            data = secrets.token_bytes(32)
            keeps_first = await bucket.keeps_first(names.PROBE, data)
            same = await bucket.get(names.PROBE) == data
        finally:
            await bucket.aclose()
    except StoreDenied as error:
        return Diagnosis("store", False, f"{error}{unseen if url.startswith('s3:') else ''}")
    except GatewayError as error:
        return Diagnosis("store", False, str(error))
    if not same:
        return Diagnosis("store", False, f"{url} returned other bytes than were put")
    if keeps_first:
        return Diagnosis("store", True, f"{url}: list, put and get work")
    return Diagnosis(
        "store",
        True,
        f"{url}: list, put and get work; the server does not support If-None-Match, so the gateway looks"
        " before each put",
    )


async def _store_of_the_gateway(config: Config) -> Diagnosis:
    url = config.store.url
    try:
        store = (await ControlClient(config.gateway.socket).status()).store
    except Unavailable as error:
        why = "its credentials come from the registrar, and the running gateway alone has them"
        return Diagnosis("store", False, f"{url}: {why}: {error}")
    if store.error is not None:
        return Diagnosis("store", False, store.error)
    if store.answered_ms is None:
        return Diagnosis("store", False, f"{url}: it has not answered the gateway yet")
    return Diagnosis("store", True, f"{url}: it answers the gateway, which has the registrar's credentials")
