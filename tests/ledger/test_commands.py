"""Commands in the ledger: all of a transaction or none, serials that only rise, and what is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import LedgerError
from gateway.ledger.commands import MOST_OVER
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, CommandChange, CommandRecord

PROVIDER, STREAM = bytes(16), b"\1" * 16
LINE = AuditEntry(1, "command", "it came")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = await Ledger.open(tmp_path / "ledger.sqlite")
    yield ledger
    await ledger.close()


def record(number: int, *, live: bool = True) -> CommandRecord:
    name = number.to_bytes(16, "big")
    return CommandRecord(0, name * 2, name, b"command", "Netz", 1000 + number, 0, live, b"receipt")


async def test_a_command_is_there_with_its_serial_and_its_line(ledger: Ledger) -> None:
    number = await ledger.add_command(record(7), (PROVIDER, STREAM, 5), LINE)
    assert await ledger.commands() == [replace(record(7), number=number)]
    assert await ledger.highest_serial(PROVIDER, STREAM) == 5
    assert await ledger.audit_log(9) == [LINE]
    for twice in (
        record(7),
        replace(record(8), id=record(7).id),
        replace(record(8), digest=record(7).digest),
    ):
        with pytest.raises(LedgerError):
            await ledger.add_command(twice, (PROVIDER, STREAM, 99), LINE)
    assert await ledger.highest_serial(PROVIDER, STREAM) == 5
    assert len(await ledger.audit_log(9)) == 1


async def test_serials_only_rise_for_each_provider_and_stream(ledger: Ledger) -> None:
    for serial in (5, 3, 2**63 - 1, 4):
        await ledger.note_serial((PROVIDER, STREAM, serial), LINE)
    await ledger.note_serial((STREAM, STREAM, 1), LINE)
    await ledger.note_serial(None, LINE)
    assert await ledger.highest_serial(PROVIDER, STREAM) == 2**63 - 1
    assert await ledger.highest_serial(STREAM, STREAM) == 1
    assert await ledger.highest_serial(STREAM, PROVIDER) is None
    assert len(await ledger.audit_log(9)) == 6


async def test_changes_happen_together(ledger: Ledger) -> None:
    one, two = [await ledger.add_command(record(n), None, LINE) for n in (1, 2)]
    await ledger.commands_lived({one: 250, two: 300, 99: 1})
    await ledger.change_commands(
        [CommandChange(one, False, b"ended", LINE), CommandChange(two, True, b"done", LINE)]
    )
    later, earlier = await ledger.commands()  # the latest first
    assert (earlier.live, earlier.receipt, earlier.lived_ms) == (False, b"ended", 250)
    assert (later.live, later.receipt, later.lived_ms) == (True, b"done", 300)
    wrong = CommandChange(two, True, None, LINE)  # type: ignore[arg-type]
    with pytest.raises(LedgerError):
        await ledger.change_commands([CommandChange(one, True, b"again", LINE), wrong])
    assert await ledger.commands() == [later, earlier]


async def test_the_live_ones_are_kept_and_the_last_others(ledger: Ledger) -> None:
    for n in range(MOST_OVER + 10):
        await ledger.add_command(record(n, live=n in (0, 5)), None, LINE)
    kept = [int.from_bytes(one.id, "big") for one in reversed(await ledger.commands())]
    assert kept == [0, 5, *range(10, MOST_OVER + 10)]


async def test_limits_and_cards(ledger: Ledger) -> None:
    for meter in ("main", "garage", "main"):
        await ledger.set_limited(meter, True)
    assert await ledger.limited() == {"main", "garage"}
    for _ in range(2):
        await ledger.set_limited("main", False)
    assert await ledger.limited() == {"garage"}
    await ledger.keep_cards([(PROVIDER, b"card"), (STREAM, b"another")])
    await ledger.keep_cards([(PROVIDER, b"renewed")])
    assert await ledger.cards() == {PROVIDER: b"renewed", STREAM: b"another"}
