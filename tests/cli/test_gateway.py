"""What a person sees of a gateway: run, status, grant and doctor, on real parts."""

from __future__ import annotations

import asyncio
import errno
import grp
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main
from gateway.cli.meters.read import RunningGateway
from gateway.cli.status import begins_at
from gateway.config import SeriesSection, StreamSection
from gateway.control.client import ControlClient
from gateway.control.documents import GrantRequest, MeterStatus
from gateway.host.clock import SystemClock
from gateway.ledger.ledger import Ledger
from gateway.ledger.migrations import VERSION
from gateway.meters.reader import ReaderState
from gateway.meters.reading import Reading
from gateway.provider.identity import generate_identity
from tests.ledger.values import written
from tests.meters.bench import device, sdm630, tcp_server
from tests.support.home import LINK_UNITS, Home
from tests.support.provider import Provider
from tests.support.serving import serving

GATEWAY = str(Path(sys.executable).with_name("gateway"))
NOBODY = 65534


@pytest.fixture(autouse=True)
def zurich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def configure(folder: Path, **changes: object) -> Path:
    """A configuration file; `changes` replace what stands for a key."""
    values: dict[str, Any] = {
        "root": "software",
        "tcti": "device:/dev/tpmrm0",
        "source": "host",
        "store": folder / "store",
        "port": 1,
        "state": folder / "state",
        "credentials": "",
    } | changes
    path = folder / "gateway.toml"
    path.write_text(
        f"""
        gateway = {{ state = "{values["state"]}", socket = "{folder}/s", commit_seconds = 1 }}
        clock = {{ source = "{values["source"]}" }}
        trust = {{ root = "{values["root"]}", tcti = "{values["tcti"]}" }}
        stream = {{ unit_ms = 1000, link_units = 60, chunk_units = 20 }}
        store = {{ url = "{values["store"]}" }}
        [[meter]]
        name = "main"
        profile = "eastron-sdm630"
        tcp = {{ host = "127.0.0.1", port = {values["port"]} }}
        """
    )
    return path


Run = Callable[..., Any]


@pytest.fixture
def gateway(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a thread of its own; its exit code, stdout and stderr."""
    config = configure(tmp_path)

    async def run(*args: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = await asyncio.to_thread(main, [*args, "--config", str(config)])
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    """A gateway that answers at the socket of the configuration."""
    async with Home(tmp_path) as home, serving(home, tmp_path / "s"):
        yield home


# --- status


async def test_status_before_a_stream(home: Home, gateway: Run) -> None:
    home.clock.is_trusted = False
    code, out, err = await gateway("status")
    assert (code, err) == (1, "")
    lines = out.splitlines()
    incarnation = await home.ledger.last_incarnation()
    assert lines[0].startswith("gateway ")
    assert lines[0].endswith(f", incarnation {incarnation}")
    assert lines[1:4] == [
        "root: in SOFTWARE. Anyone who copies this machine's disk can open every reading",
        "clock: not set yet; readings wait until it is",
        f"store: {home.folder}/store, nothing waits; not used yet",
    ]
    assert lines[4].split() == [
        "meter",
        "stream",
        "last",
        "reading",
        "its",
        "clock",
        "sealed",
        "until",
        "chunks",
    ]
    assert lines[5].split() == ["main", "not", "begun", "-", "-", "-", "0"]
    assert len(lines) == 6


async def test_status_tells_when_a_stream_begins(home: Home, gateway: Run) -> None:
    """Nothing is wrong in the up to one hour until the first link begins."""
    home.session._readers["main"].last_wall = home.clock.wall()
    _, out, _ = await gateway("status")
    assert out.splitlines()[-1] == (
        "meter main is read; its stream begins at a link boundary, 2026-05-28T22:27:00+02:00"
    )
    await home.runs(2 * LINK_UNITS)
    _, out, _ = await gateway("status")
    assert "begins" not in out


async def test_status_while_the_clock_is_not_believed(home: Home, gateway: Run) -> None:
    await home.runs(2 * LINK_UNITS)
    home.steps(86_400)
    await home.commit()
    _, out, _ = await gateway("status")
    waits = "the clock stepped forward by 24 h: readings wait until the new time has stood for ten minutes"
    assert f"clock: not believed yet; {waits}\n" in out
    _, out, _ = await gateway("status", "--json")
    assert json.loads(out)["clock_waits"] == waits


@pytest.mark.parametrize(("minute", "begins"), [(14, "2026-05-28T02:00"), (15, "2026-05-28T03:00")])
def test_a_stream_of_long_units_begins_at_the_link_boundary_before_its_first_unit(
    minute: int, begins: str
) -> None:
    """Its first unit is sealed once that has ended."""
    now_ms = (1_779_926_400 + 60 * minute) * 1000  # 2:00 in Zurich
    meter = MeterStatus(
        meter="main", read_ms=now_ms, meter_ahead_ms=None, error=None, held=None, sealing=True, stream=None
    )
    found = begins_at(meter, now_ms, StreamSection(unit_ms=900_000, link_units=4, chunk_units=4))
    assert str(found).split("boundary, ")[1].startswith(begins)


async def test_status_while_the_last_sealed_unit_lies_in_the_future(home: Home, gateway: Run) -> None:
    await home.runs(2 * LINK_UNITS)
    home.steps(-3600)
    await home.runs(5)
    sentence = "meter main: nothing is sealed until 2026-05-28 20:28:41 UTC, the end of its last sealed unit"
    _, out, _ = await gateway("status")
    assert sentence in out
    _, out, _ = await gateway("status", "--json")
    (meter,) = json.loads(out)["meters"]
    assert meter["sealed_ahead"].startswith(sentence)


async def test_status_of_a_gateway_at_work(home: Home, gateway: Run) -> None:
    await home.runs(2 * LINK_UNITS)
    await home.publish()
    stream = await home.stream()
    code, out, _ = await gateway("status")
    assert code == 0
    assert "clock: right\n" in out
    assert (
        f"store: {home.folder}/store, nothing waits; it last answered at 2026-05-28T22:28:40+02:00\n" in out
    )
    row = out.splitlines()[-1].split()
    position = await home.ledger.position(stream)
    assert position.last is not None
    assert row[:2] == ["main", stream.id.hex()]
    assert row[3:] == ["-", "2026-05-28T22:28:41+02:00", str(position.last.seq + 1)]

    home.bucket.away = True
    await home.runs(LINK_UNITS)
    await home.publish()
    _, out, _ = await gateway("status")
    assert f"{await home.ledger.backlog()} objects wait; it fails: the store does not answer" in out

    home.clock.pass_s(1)
    home.deliver((0, 0, 0))
    await home.commit()
    code, out, _ = await gateway("status")
    assert code == 1
    assert "meter main: its import and export register fell; readings are held until it is back (since" in out

    code, out, _ = await gateway("status", "--json")
    document = json.loads(out)
    assert document["meters"][0]["stream"] == stream.id.hex()
    assert document["store"]["waiting"] == await home.ledger.backlog()
    assert (code, document["meters"][0]["sealing"]) == (1, False)


async def test_status_ends_with_1_while_the_disk_is_full(home: Home, gateway: Run) -> None:
    await home.runs(2 * LINK_UNITS)
    assert (await gateway("status"))[0] == 0
    home.reads()
    home.database.fuse.set(0)
    await home.commit()
    code, out, _ = await gateway("status")
    assert (code, "disk is full" in out) == (1, True)
    home.database.fuse.set(None)
    await home.commit()
    assert (await gateway("status"))[0] == 0


@pytest.mark.parametrize(
    "command",
    [["status"], ["grant", "list"], ["grant", "revoke", "ab"], ["ledger", "confirm"], ["status", "--json"]],
)
async def test_without_a_gateway(command: list[str], gateway: Run, tmp_path: Path) -> None:
    code, out, err = await gateway(*command)
    assert (code, out) == (4, "")
    assert err == (
        f"gateway: no gateway answers at {tmp_path}/s: start it (systemctl start gateway, or gateway run), "
        "or run gateway doctor to see what is wrong\n"
    )


async def test_held_readings_are_shown_and_decided_on(home: Home, gateway: Run) -> None:
    await home.runs(2 * LINK_UNITS)
    assert await gateway("meters", "accept", "main") == (0, "meter main: no reading is held\n", "")
    code, _, err = await gateway("meters", "accept", "main", "--as", "exchange", "--yes")
    assert (code, err) == (2, "gateway: meter main: no reading is held, so there is nothing to accept\n")
    code, _, err = await gateway("meters", "accept", "attic")
    assert (code, err) == (2, "gateway: the gateway has no meter 'attic'; its meters are main\n")
    exported = home.shown["main"][1]
    imported, power = 23_060_000_000 * 10, 7
    for _ in range(3):
        home.clock.pass_s(1)
        home.deliver((imported, exported, power))
        imported += 500
    await home.commit()

    code, out, _ = await gateway("status")
    assert code == 1
    (line,) = [line for line in out.splitlines() if "nothing is sealed" in line]
    assert " kWh was believed at " in line
    assert "230600.001000 kWh is held" in line
    assert line.endswith("`gateway meters accept main` shows what to do")

    code, found = await findings(gateway)
    ok, sentence = found["meter main"]
    assert (code, ok) == (1, False)
    assert sentence.startswith("its import register rose by more than a home can draw; readings are held")
    assert sentence.endswith(": nothing is sealed; `gateway meters accept main` shows what to do")

    before = await home.ledger.audit_log(99)
    code, out, _ = await gateway("meters", "accept", "main")
    assert code == 0
    assert "its import register rose by more than a home can draw" in out
    assert "lane    last believed kWh" in out
    assert "--as exchange    another meter, or a register that was reset." in out
    assert "Up to now: import +0.001000 kWh, export +0.000000 kWh." in out
    assert "Nothing was changed. gateway meters accept main --as exchange, correction or before" in out
    code, out, _ = await gateway("meters", "accept", "main", "--json")
    document = json.loads(out)
    assert document["hold"]["registers"][0]["first_mwh"] == 230_600_000_000
    assert document["meter"] == "main"
    code, out, err = await gateway("meters", "accept", "main", "--as", "exchange")
    assert (code, err) == (3, "gateway: nothing was accepted; --yes decides without being asked\n")
    assert await home.ledger.audit_log(99) == before

    code, out, err = await gateway("meters", "accept", "main", "--as", "exchange", "--yes", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["decision"] == (await home.ledger.audit_log(99))[-1].detail
    assert home.sealer().held() is None


async def test_status_tells_registers_that_are_ten_times_too_high(home: Home, gateway: Run) -> None:
    for turn in range(4 * 360 + 1):  # 1500 W for four hours, counted as 15 kW
        home.reads(10, 41_667, 0, 1_500)
        if turn % 360 == 359:
            code, out, _ = await gateway("status")
            assert code == 0
            assert ("factor = { energy = 0.1 }" in out) == (turn > 3 * 360)
            await home.commit()
    sentence = (
        "meter main: over 3 h its power added up to 4.500 kWh, but its registers to 45.000 kWh, 10 times as "
        "much. Compare them with the meter's display; if its registers are read wrongly, "
        "factor = { energy = 0.1 } in its [[meter]] section corrects them"
    )
    assert sentence in out.splitlines()
    _, out, _ = await gateway("status", "--json")
    (meter,) = json.loads(out)["meters"]
    assert meter["scale"] == {
        "seconds": 10_800,
        "power_mwh": 4_500_000,
        "registers_mwh": 45_000_360,
        "factor": "0.1",
        "sentence": sentence,
    }


async def test_a_socket_left_by_a_gateway_that_is_gone(gateway: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    code, _, err = await gateway("status")
    assert (code, err.startswith("gateway: no gateway answers at ")) == (4, True)


@pytest.mark.parametrize(
    ("mode", "join"),
    [
        (0o600, ""),
        (0o660, ", or join the group daemon (sudo usermod -aG daemon YOU, and log in again)"),
    ],
)
def test_a_socket_of_another_user(capfd: pytest.CaptureFixture[str], mode: int, join: str) -> None:
    before = os.geteuid()
    if before != 0:  # nobody else's group can be given
        mode, join = 0, ""
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as theirs:
        folder = Path(name)
        folder.chmod(0o755)
        config = configure(folder)
        theirs.bind(str(folder / "s"))
        theirs.listen()
        (folder / "s").chmod(mode)
        if before == 0:
            shutil.chown(folder / "s", group="daemon")
            os.seteuid(NOBODY)
        try:
            code = main(["status", "--config", str(config)])
        finally:
            os.seteuid(before)
    said = f"gateway: the gateway's socket {folder}/s is closed to this user: use sudo{join}\n"
    assert (code, capfd.readouterr().err) == (4, said)


def test_files_of_another_user(capfd: pytest.CaptureFixture[str]) -> None:
    before = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "store").mkdir()
        config = configure(folder)
        state = folder / "state"
        state.mkdir(mode=0o700 if before == 0 else 0)
        found = []
        for closed in (state, config):
            if closed == config:
                config.chmod(0o600 if before == 0 else 0)
            if before == 0:
                os.seteuid(NOBODY)
            try:
                found.append((main(["doctor", "--config", str(config)]), *capfd.readouterr()))
            finally:
                os.seteuid(before)
        state.chmod(0o700)
    (_, out, err), last = found
    assert err == ""
    assert (
        f"FAIL  ledger: {state}/ledger.sqlite is closed to this user: use sudo, or run as user gateway" in out
    )
    group = grp.getgrgid(os.getegid()).gr_name
    said = f"gateway: {config}: the file is closed to this user: use sudo, or join its group {group}\n"
    assert last == (2, "", said)


# --- ledger


async def test_a_restored_ledger_is_confirmed_by_its_owner(
    home: Home, gateway: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = await gateway("ledger", "confirm")
    nothing = "nothing to confirm: the TPM has counted no start that this ledger does not know\n"
    uncounted = "a root in software counts no starts, so it cannot show that a ledger is old\n"
    assert (code, out, err) == (0, f"nothing to confirm: {uncounted}", "")
    with monkeypatch.context() as patch:
        patch.setattr(home.watched, "assurance", "tpm")
        assert await gateway("ledger", "confirm") == (0, nothing, "")

    await home.runs(2 * LINK_UNITS)
    await home.grants(Provider(home.clock.now_ms), "20s", from_ms=0)
    first = (await home.ledger.position(await home.stream())).next_unit
    for counter in (5, 7):  # the last note, and two steps since
        await home.ledger.note_counter(counter, home.clock.now_ms + 60_000, trusted=True)
    await home.runs(2 * LINK_UNITS)
    sentence = (
        "meter main: the ledger was restored or copied, which the TPM's counter showed at "
        "2026-05-28T22:29:40+02:00; the units from 2026-05-28T22:28:41+02:00 to 2026-05-28T22:29:41+02:00 "
        "may have been sealed before, and 6 windows wait for them"
    )
    _, out, _ = await gateway("status")
    assert out.splitlines()[-1] == f"{sentence}: `gateway ledger confirm` says what to do"
    (doubt,) = json.loads((await gateway("status", "--json"))[1])["doubts"]
    assert (doubt["meter"], doubt["from_ms"], doubt["windows_waiting"]) == ("main", first * 1000, 6)
    code, out, err = await gateway("ledger", "confirm")
    assert (code, out) == (3, "")
    assert err.splitlines()[0] == f"{sentence}."
    assert "Confirm it only if what the gateway sealed after this copy was made is lost for good." in err
    assert err.endswith("nothing was confirmed; --yes confirms this ledger without being asked\n")

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer in (False, True):
        monkeypatch.setattr("click.confirm", lambda *_, answer=answer, **__: answer)
        code, out, _ = await gateway("ledger", "confirm")
        said = (0, "confirmed: the tokens that waited are sent\n") if answer else (3, "")
        assert (code, out) == said
    assert await home.ledger.doubt(await home.stream()) is None
    code, out, _ = await gateway("ledger", "confirm", "--yes", "--json")
    assert (code, json.loads(out)["doubts"]) == (0, [])


async def test_the_doctor_finds_a_ledger_that_was_restored(home: Home, gateway: Run) -> None:
    await home.runs(2 * LINK_UNITS)
    _, found = await findings(gateway)
    assert found["ledger"][0] is True
    for counter in (5, 7):
        await home.ledger.note_counter(counter, home.clock.now_ms, trusted=True)
    _, found = await findings(gateway)
    assert found["ledger"] == (
        False,
        "intact, but restored or copied: tokens of meter main wait until the store shows what was sealed "
        "since, or `gateway ledger confirm` says that this ledger is the newest",
    )


# --- grant


async def test_a_grant_from_beginning_to_end(home: Home, gateway: Run, tmp_path: Path) -> None:
    await home.runs(3 * LINK_UNITS)
    stream = await home.stream()
    card = tmp_path / "card.cose"
    provider = Provider(home.clock.now_ms, "Stadtwerk")
    card.write_bytes(provider.card_bytes())

    assert (await gateway("grant", "list"))[:2] == (0, "Nobody may open anything.\n")
    assert json.loads((await gateway("grant", "list", "--json"))[1]) == []

    new = ["grant", "new", "--to", str(card), "--purpose", "dynamic tariff"]
    known = ("--fingerprint", provider.card.fingerprint)
    times = ["--from", "2026-05-28T22:29:00", "--until", "2026-06-01"]
    code, out, err = await gateway(*new, "--granularity", "10s", *times, *known, "--lanes", "import, count")
    assert (code, err) == (0, "")
    (record,) = await home.ledger.grants()
    id_ = record.id.hex()
    signer = json.loads((await gateway("status", "--json"))[1])["signer"]
    what = "10s sums of import, count from 2026-05-28T22:29:00+02:00 until 2026-06-01T00:00:00+02:00"
    assert out.splitlines() == [
        f"Stadtwerk may now open {what}, for: dynamic tariff",
        f"grant {id_}; revoke it with: gateway grant revoke {id_}",
        f"the provider reads it with: --stream {stream.id.hex()} --signer {signer}",
    ]

    code, out, _ = await gateway(*new, "--granularity", "day", "--zone", "Europe/Zurich", "--json")
    answer = json.loads(out)
    (day,) = answer["grants"]
    assert answer["consent"] == {"provider": [], "pooled": []}
    assert (code, day["granularity"], day["zone"], day["until_ms"]) == (0, "day", "Europe/Zurich", None)

    assert max(map(len, (await gateway("grant", "list"))[1].splitlines())) <= 80
    by_id = await listed(gateway)
    assert by_id[id_[:8]] == (
        f"meter main, to Stadtwerk {what} for: dynamic tariff open, windows served: {record.next_window}"
    )
    assert "day (Europe/Zurich) sums of import, export from 2026-05-29T00:00:00+02:00" in by_id[day["id"][:8]]

    code, out, _ = await gateway("grant", "revoke", id_[:9].upper())
    assert code == 0
    assert out.splitlines()[0].startswith(f"grant {id_} of Stadtwerk is revoked from 2026-05-28T22:")
    assert "stays known" in out
    assert {one.id: one.revoked_from is None for one in await home.ledger.grants()} == {
        record.id: False,
        bytes.fromhex(day["id"]): True,
    }
    code, out, _ = await gateway("grant", "revoke", day["id"], "--json")
    assert (code, json.loads(out)["revoked_from_ms"] is not None) == (0, True)

    code, out, _ = await gateway("grant", "list")
    assert (code, out) == (0, "Nobody may open anything.\nrevoked grants, which --all shows: 2\n")
    assert json.loads((await gateway("grant", "list", "--json"))[1]) == []
    both = await listed(gateway, "--all")
    assert set(both) == {id_[:8], day["id"][:8]}
    assert "revoked from 2026-05-28T22:" in both[id_[:8]]
    assert len(json.loads((await gateway("grant", "list", "--all", "--json"))[1])) == 2


async def test_own_grants_are_shown_apart(home: Home, gateway: Run, tmp_path: Path) -> None:
    await home.runs(3 * LINK_UNITS)
    _, _, card = generate_identity("the page", home.clock.now_ms, role="household")
    asked = GrantRequest(
        kind="windows",
        cards=(card,),
        granularity="10s",
        zone="UTC",
        lanes=None,
        purpose="history",
        from_ms=None,
        until_ms=None,
        meter=None,
        tariff=None,
        confirmed=False,
        fingerprints=(),
        own=True,
    )
    (own,) = (await ControlClient(tmp_path / "s").grant(asked)).grants
    nobody, *entry = (await gateway("grant", "list"))[1].splitlines()
    assert nobody == "Nobody else may open anything."
    assert entry[0] == f"{own.id[:8]}  meter main, your own (the page)"
    assert (await gateway("grant", "check"))[1] == "Nobody may open anything.\n"
    assert "own: True" in (await gateway("grant", "show", own.id))[1]

    provider, path = Provider(home.clock.now_ms, "Stadtwerk"), tmp_path / "card.cose"
    path.write_bytes(provider.card_bytes())
    known = ("--fingerprint", provider.card.fingerprint)
    new = ["grant", "new", "--to", str(path), "--purpose", "tariff", "--granularity", "15s", *known]
    assert (await gateway(*new))[0] == 0  # 10 s and 15 s of one provider would have to be confirmed
    first, last = [line for line in (await gateway("grant", "list"))[1].splitlines() if "  meter" in line]
    assert first.endswith("meter main, to Stadtwerk")
    assert last == entry[0]
    assert (await gateway("grant", "check"))[
        1
    ] == "meter main: nothing beyond what each grant opens by itself\n"
    code, out, _ = await gateway("grant", "revoke", own.id)
    assert (code, out.count("\n")) == (0, 1)
    assert "own:" not in (await gateway("grant", "show", first[:8]))[1]


async def listed(gateway: Run, *args: str) -> dict[str, str]:
    """What `grant list` says of each grant, in one line, by the digits that it shows."""
    entries: dict[str, str] = {}
    for line in (await gateway("grant", "list", *args))[1].splitlines():
        if re.match(r"[0-9a-f]{8,}  ", line):
            id_, text = line.split("  ")
            entries[id_] = text
        elif line.startswith("  "):
            entries[id_] += f" {line.strip()}"
    return entries


async def test_times_of_a_grant_of_days_are_those_of_its_zone(
    home: Home, gateway: Run, tmp_path: Path
) -> None:
    """The zone of the machine that shows them is another."""
    await home.runs(2 * LINK_UNITS)
    await home.grants(Provider(home.clock.now_ms), "day", zone="Asia/Tokyo")
    ((id_, text),) = (await listed(gateway)).items()
    assert "day (Asia/Tokyo) sums of import, export from 2026-05-30T00:00:00+09:00" in text
    assert "from: 2026-05-30T00:00:00+09:00\n" in (await gateway("grant", "show", id_))[1]


async def test_few_digits_are_not_enough_to_revoke_a_grant(home: Home, gateway: Run) -> None:
    await home.runs(2 * LINK_UNITS)
    id_ = (await home.grants(Provider(home.clock.now_ms))).id.hex()
    for digits in (1, 3):
        code, out, err = await gateway("grant", "revoke", id_[:digits])
        assert (code, out) == (2, "")
        assert f"nothing was revoked: give at least 4 digits of the grant's id, such as {id_[:8]}\n" in err
    assert [one.revoked_from for one in await home.ledger.grants()] == [None]
    assert (await gateway("grant", "revoke", id_[:4]))[0] == 0


async def test_what_grants_open_together_is_said_before_it_is_granted(
    home: Home, gateway: Run, tmp_path: Path
) -> None:
    await home.runs(2 * LINK_UNITS)
    card = tmp_path / "card.cose"
    provider = Provider(home.clock.now_ms, "Stadtwerk")
    card.write_bytes(provider.card_bytes())
    new = ["grant", "new", "--to", str(card), "--purpose", "x", "--granularity"]
    code, out, err = await gateway(*new, "15min", "--yes")
    assert (code, out) == (3, "")
    assert (
        f"the first grant to the card of Stadtwerk, with the fingerprint {provider.card.fingerprint}" in err
    )
    assert "compare the fingerprint with the one that the provider told you by another way" in err
    code, out, _ = await gateway(*new, "15min", "--dry-run")
    assert (code, "the card of Stadtwerk is new here; its fingerprint is" in out) == (0, True)
    assert await home.ledger.grants() == []
    assert (await gateway(*new, "15min", "--fingerprint", provider.card.fingerprint))[0] == 0
    assert (await gateway("grant", "check"))[
        1
    ] == "meter main: nothing beyond what each grant opens by itself\n"

    code, out, err = await gateway(*new, "10min")
    assert (code, out) == (3, "")
    assert (
        "Stadtwerk learns 5min sums of import at the meter main, from 15min sums of import, export for" in err
    )
    assert "nothing was granted; --yes grants it" in err
    (first,) = await home.ledger.grants()

    code, out, _ = await gateway(*new, "10min", "--yes")
    assert (code, "Stadtwerk may now open 10min sums" in out) == (0, True)
    code, out, _ = await gateway("grant", "check")
    assert (code, "learns 5min sums of export at the meter main" in out) == (0, True)
    assert json.loads((await gateway("grant", "check", "--json"))[1])[0]["pooled"] == []

    code, out, _ = await gateway("grant", "show", first.id.hex()[:12])
    assert (code, "granularity: 15min\n" in out, "purpose: x\n" in out) == (0, True, True)
    assert json.loads((await gateway("grant", "show", first.id.hex(), "--json"))[1])["kind"] == "windows"


async def test_what_cannot_be_granted_or_revoked(home: Home, gateway: Run, tmp_path: Path) -> None:
    card = tmp_path / "card.cose"
    card.write_bytes(Provider(home.clock.now_ms).card_bytes())
    not_a_card = tmp_path / "not-a-card.cose"
    not_a_card.write_bytes(b"hello")
    new = ["grant", "new", "--to", str(card), "--purpose", "x", "--granularity", "10s"]
    assert (await gateway(*new))[::2] == (
        4,
        "gateway: no stream has begun yet; `gateway status` says when it begins\n",
    )
    await home.runs(2 * LINK_UNITS)
    for args, code, sentence in (
        ([*new[:-1], "7"], 2, "granularity '7': it must be a number and ms, s, min or h"),
        ([*new, "--purpose", " "], 2, "purpose: it is empty; say what the data is for"),
        ([*new, "--to", str(not_a_card)], 5, f"the card {not_a_card} is not CBOR"),
        ([*new, "--lanes", "gas"], 2, "'gas': expected some of import,export,power,temperature,irradiance,"),
        ([*new, "--lanes", ""], 2, "expected some of import,export,power,temperature,irradiance,"),
        ([*new, "--from", "soon"], 2, "'soon' is not a time: use 2026-11-22, or 2026-11-22T18:30"),
        ([*new, "--until", "1999-12-31"], 2, "the grant ends before its first window does"),
        ([*new, "--from", "9999-06-01"], 2, "reach beyond the year 9998"),
        ([*new, "--meter", "cellar"], 2, "meter 'cellar' has no stream; meters with a stream: main"),
        (["grant", "revoke", "abcd"], 2, "no grants begin with 'abcd'; `gateway grant list --all` shows"),
        (["grant", "revoke", ""], 2, "no grants begin with ''"),
    ):
        found, out, err = await gateway(*args)
        assert (found, out, sentence in err) == (code, "", True), (args, err)
    card.write_bytes(b"no card")
    assert (await gateway(*new))[0] == 5
    card.unlink()
    assert (await gateway(*new))[::2] == (
        2,
        f"gateway: the card {card} cannot be read: No such file or directory\n",
    )
    assert await home.ledger.grants() == []


async def test_the_first_digits_must_name_one_grant(home: Home, gateway: Run) -> None:
    await home.runs(2 * LINK_UNITS)
    provider = Provider(home.clock.now_ms)
    firsts: dict[str, int] = {}
    while max(firsts.values(), default=0) < 2:
        first = (await home.grants(provider)).id.hex()[0]
        firsts[first] = firsts.get(first, 0) + 1
    twice = max(firsts, key=lambda first: firsts[first])
    code, _, err = await gateway("grant", "revoke", twice)
    assert (code, f"2 grants begin with '{twice}'" in err) == (2, True)


# --- doctor


async def findings(gateway: Run) -> tuple[int, dict[str, tuple[bool, str]]]:
    code, out, err = await gateway("doctor", "--json")
    assert err == ""
    return code, {one["part"]: (one["ok"], one["sentence"]) for one in json.loads(out)}


async def test_the_doctor_finds_all_well(gateway: Run, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    async with tcp_server(device(sdm630())) as port:
        configure(tmp_path, port=port)
        code, found = await findings(gateway)
        assert (code, [part for part, (ok, _) in found.items() if not ok]) == (0, [])
        assert list(found) == ["clock", "root", "meter main", "ledger", "store"]
        assert found["ledger"][1] == f"none yet; the first run creates {tmp_path}/state/ledger.sqlite"
        assert "shows 230 V as its voltage" in found["meter main"][1]
        assert not any((tmp_path / "store").rglob("doctor-*"))
        assert not (tmp_path / "state").exists()
        code, out, _ = await gateway("doctor")
        assert code == 0
        assert [line[:4] for line in out.splitlines()] == ["ok  "] * 5


async def test_the_doctor_looks_beside_a_running_gateway(home: Home, gateway: Run) -> None:
    await home.runs(2 * LINK_UNITS)
    _, found = await findings(gateway)
    assert found["ledger"] == (True, f"intact; {await home.ledger.backlog()} objects wait to be sent")
    await home.runs(LINK_UNITS)
    assert home.line().fault is None


async def test_the_running_gateway_is_asked_for_its_meters(home: Home, gateway: Run) -> None:
    """Their ports are its own: at the configured one nothing answers here."""
    await home.runs(2 * LINK_UNITS)
    reader = home.session._readers["main"]
    _, found = await findings(gateway)
    assert found["meter main"] == (True, "the running gateway waits for its first reading")
    wall, monotonic = home.clock.wall(), home.clock.monotonic()
    reader.latest = Reading("main", {"import": 5, "power": -7}, wall, monotonic, None, wall + 2 * 10**9)
    home.clock.pass_s(3)
    _, found = await findings(gateway)
    assert found["meter main"] == (True, "read by the running gateway 3 s ago: import, power")
    code, out, err = await gateway("meters", "read", "main", "--once", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "meter": "main",
        "time_ms": wall // 10**6,
        "import_mwh": 5,
        "power_w": -7,
        "clock_ahead_ms": 2000,
    }
    reader.fault = "meter main does not answer"
    code, found = await findings(gateway)
    assert (code, found["meter main"]) == (1, (False, "does not answer"))
    for latest in (reader.latest, None):  # what it showed before it fell silent is no answer
        reader.latest = latest
        code, out, err = await gateway("meters", "read", "--once")
        assert (code, out, err) == (4, "", "gateway: meter main does not answer\n")


async def test_a_series_from_beginning_to_end(gateway: Run, tmp_path: Path) -> None:
    file = configure(tmp_path)
    series = '[[series]]\nname = "climate"\nlanes = ["temperature", "occupancy"]\n'
    file.write_text(file.read_text() + series)
    _, found = await findings(gateway)
    assert found["series climate"] == (True, "takes temperature, occupancy while the gateway runs")
    put = ("series", "put", "climate")
    code, _, err = await gateway(*put, "temperature=21.5", "occupancy=2")
    assert (code, err.startswith(f"gateway: no gateway answers at {tmp_path}/s")) == (4, True)
    section = SeriesSection(name="climate", lanes=("temperature", "occupancy"))
    async with Home(tmp_path, series=[section]) as home, serving(home, tmp_path / "s"):
        code, out, err = await gateway(*put, "temperature=21.5", "occupancy=2")
        taken, begins = out.splitlines()
        assert (code, err) == (0, "")
        assert taken.startswith("series climate: taken at 2026-05-28T22:26:40+02:00")
        assert begins.startswith("series climate is read; its stream begins at a link boundary, ")
        code, _, err = await gateway(*put, "temperature=21.5", "occupancy=2")
        assert (code, err) == (
            2,
            "gateway: series climate: it has values of this moment already; put some once a unit at most, "
            "1s\n",
        )
        for values, sentence in (
            (["temperature"], "'temperature' is not a lane and its value: use temperature=21.5"),
            (["temperature=warm"], "'temperature=warm' is not a lane and its value: use temperature=21.5"),
            (["temperature=nan"], "'temperature=nan' is not a lane and its value: use temperature=21.5"),
            (["temperature=1", "temperature=2"], "temperature is given twice"),
            (["temperature=1"], "series climate: occupancy is missing; give all of its lanes at once, tem"),
            (["temperature=1", "occupancy=-1"], "series climate: occupancy must be a number from 0 to 1000"),
        ):
            code, out, err = await gateway(*put, *values)
            assert (code, out) == (2, "")
            assert err.startswith(f"gateway: {sentence}")
        await home.commit()
        home.clock.pass_s(LINK_UNITS)
        code, out, _ = await gateway(*put, "temperature=-3.25", "occupancy=0", "--json")
        assert json.loads(out)["read_ms"] == home.clock.now_ms
        await home.commit()
        code, out, _ = await gateway("status")
        assert any(line.startswith("climate  ") for line in out.splitlines())
        provider = Provider(home.clock.now_ms)
        (tmp_path / "card").write_bytes(provider.card_bytes())
        code, out, _ = await gateway(
            *("grant", "new", "--to", str(tmp_path / "card"), "--granularity", "10s", "--meter", "climate"),
            *("--purpose", "comfort", "--fingerprint", provider.card.fingerprint, "--json"),
        )
        (grant,) = json.loads(out)["grants"]
        assert (code, grant["lanes"]) == (0, ["temperature", "occupancy", "count"])
        home.clock.pass_s(7)
        _, found = await findings(gateway)
        read = "read by the running gateway 7 s ago: temperature, occupancy"
        assert found["series climate"] == (True, read)


async def test_readings_of_the_running_gateway_are_shown_as_they_come(
    home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reader = home.session._readers["main"]
    names = ["main"]
    running = RunningGateway(ControlClient(tmp_path / "s"), names, SystemClock("host"))
    states = {"main": ReaderState()}
    seen: list[int] = []
    asked = 0
    async with aclosing(running.new(states)) as news:
        async for reading in news:
            if reading is not None:
                seen.append(reading.registers["import"])
            if len(seen) == 3:
                reader.fault = "meter main does not answer"
                asked += 1
                if asked == 4:
                    break
                continue
            wall = home.clock.wall() + len(seen)
            reader.latest = Reading("main", {"import": len(seen)}, wall, home.clock.monotonic())
    assert seen == [0, 1, 2]
    assert caplog.messages.count("meter main does not answer") == 1


async def test_the_doctor_finds_what_is_ill(gateway: Run, tmp_path: Path) -> None:
    state = tmp_path / "state"
    configure(tmp_path, root="tpm", tcti="swtpm:host=127.0.0.1,port=1")
    state.mkdir()
    (state / "ledger.sqlite").write_bytes(b"no database" * 500)
    code, found = await findings(gateway)
    assert code == 1
    assert [part for part, (ok, _) in found.items() if not ok] == ["TPM", "meter main", "ledger", "store"]
    assert "file is not a database" in found["ledger"][1]
    assert f"there is no directory {tmp_path}/store" in found["store"][1]
    assert found["meter main"][1] == "cannot open 127.0.0.1:1: Connection refused"
    code, out, _ = await gateway("doctor")
    assert code == 1
    assert [line[:4] for line in out.splitlines()] == ["ok  ", "FAIL", "FAIL", "FAIL", "FAIL"]


async def test_the_doctor_ends_with_4_where_readings_are_sealed_but_not_sent(
    gateway: Run, tmp_path: Path
) -> None:
    async with tcp_server(device(sdm630())) as port:
        configure(tmp_path, port=port)
        code, found = await findings(gateway)
    assert (code, [part for part, (ok, _) in found.items() if not ok]) == (4, ["store"])


@pytest.mark.parametrize("begun", [False, True])
async def test_the_doctor_finds_a_full_disk(
    gateway: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    (tmp_path / "store").mkdir()
    if begun:
        await (await Ledger.open(tmp_path / "state" / "ledger.sqlite")).close()
    whole = os.statvfs(tmp_path)
    full = os.statvfs_result([*whole[:4], 8, *whole[5:]])
    monkeypatch.setattr(os, "statvfs", lambda folder: full)
    async with tcp_server(device(sdm630())) as port:
        configure(tmp_path, port=port)
        code, found = await findings(gateway)
    assert code == 1
    assert found["ledger"] == (
        False,
        f"the disk of {tmp_path / 'state' if begun else tmp_path} is full (0 MiB are free): nothing more can "
        "be sealed; free some space on it",
    )


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO])
async def test_the_doctor_finds_a_disk_that_takes_nothing(
    gateway: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool, number: int
) -> None:
    """An old SD card: its file system becomes read-only, and an intact ledger is worth nothing there."""
    (tmp_path / "store").mkdir()
    if begun:
        await (await Ledger.open(tmp_path / "state" / "ledger.sqlite")).close()

    def refuse(**place: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    async with tcp_server(device(sdm630())) as port:
        configure(tmp_path, port=port)
        code, found = await findings(gateway)
    ok, sentence = found["ledger"]
    assert (code, ok) == (1, False)
    assert f"cannot be written: {os.strerror(number)}. The disk or SD card fails" in sentence


async def test_the_doctor_finds_a_damaged_ledger_and_another_meter(gateway: Run, tmp_path: Path) -> None:
    ledger = await Ledger.open(tmp_path / "state" / "ledger.sqlite")
    await ledger.begin_incarnation(1, 1)
    await ledger.close()
    path = tmp_path / "state" / "ledger.sqlite"
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    async with tcp_server(device(sdm630(volts=12.0))) as port:
        configure(tmp_path, port=port)
        _, found = await findings(gateway)
    assert found["ledger"][0] is False
    assert str(path) in found["ledger"][1]
    assert found["meter main"] == (
        False,
        "shows 12 V as its voltage, not within 180 to 280 V: is it the profile's model?",
    )


async def test_the_doctor_finds_a_ledger_that_the_gateway_migrates_when_it_starts(
    gateway: Run, tmp_path: Path
) -> None:
    """As after an update: no fault, and nothing to do."""
    path = written(1, tmp_path / "state")
    configure(tmp_path)
    _, found = await findings(gateway)
    sentence = f"the ledger {path} has version 1: the gateway will migrate it to version {VERSION}"
    assert found["ledger"] == (True, f"{sentence} at its next start")


async def test_the_doctor_looks_at_each_meter_by_itself(gateway: Run, tmp_path: Path) -> None:
    """One without its keys hides neither the others nor the store."""
    (tmp_path / "store").mkdir()
    async with tcp_server(device(sdm630())) as port:
        config = configure(tmp_path, port=port)
        right = config.read_text()
        pushing = '[[meter]]\nname = "han"\nprofile = "kaifa-ma309"\n'
        config.write_text(f'{right}\n{pushing}tcp = {{ host = "127.0.0.1", port = 1 }}\n')
        code, found = await findings(gateway)
        assert (code, [part for part, (ok, _) in found.items() if not ok]) == (1, ["meter han"])
        assert "encryption_key" in found["meter han"][1]
        config.write_text(f'{right}\n{pushing}tcp = {{ host = "127.0.0.1" }}\n')
        code, found = await findings(gateway)
    assert found["meters"] == (False, "meter han: tcp needs the port at which the meter is reached")
    assert (code, found["store"][0]) == (1, True)


async def test_the_doctor_asks_the_clock(gateway: Run, tmp_path: Path) -> None:
    configure(tmp_path, source="ntp")
    well, sentence = (await findings(gateway))[1]["clock"]
    assert (
        sentence == "synchronised" if well else "make sure that the machine reaches a time server" in sentence
    )


# --- run


async def runs(config: Path, **env: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        GATEWAY,
        "run",
        env=os.environ | {"GATEWAY_CONFIG": str(config)} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_it_runs_until_it_is_told_to_stop(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "store").mkdir()
    by_systemd = {"JOURNAL_STREAM": "8:1"} if how == signal.SIGTERM else {}
    process = await runs(configure(tmp_path), **by_systemd)
    assert process.stderr is not None
    lines: list[str] = []
    async with asyncio.timeout(60):
        while not lines or "the gateway is running" not in lines[-1]:
            lines.append((await process.stderr.readline()).decode())
            assert lines[-1], lines
        process.send_signal(how)
        out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"")
    assert lines[0].startswith("WARNING ") == bool(by_systemd)  # systemd stamps each line itself
    assert "WARNING the root is in software" in lines[0]


@pytest.mark.slow
async def test_what_keeps_it_from_running_is_a_sentence(tmp_path: Path, home: Home) -> None:
    config = configure(tmp_path)
    for code, sentence in (
        (4, f"another gateway is running with the ledger {tmp_path}/state/ledger.sqlite"),
        (2, "there is no such file"),
    ):
        process = await runs(config)
        async with asyncio.timeout(60):
            _, err = await process.communicate()
        assert (process.returncode, sentence in err.decode()) == (code, True)
        assert "Traceback" not in err.decode()
        config.unlink(missing_ok=True)
