"""Commands as a gateway takes them: what is checked, when it is carried out, and what the receipts say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.control.commands import Act
from gateway.daemon.acts import with_topics
from gateway.errors import Refused, Unavailable, UsageError
from gateway.wire import cose
from gateway.wire.command import Command, Receipt
from tests.support.commanded import HOUR_MS, CommandedHome, PowerCut, Utility

MINUTE_MS = 60_000


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[CommandedHome]:
    home = CommandedHome(tmp_path)
    await home.begins()
    yield home
    await home.crash()


async def test_a_disconnect_and_a_reconnect(home: CommandedHome) -> None:
    sent = await home.sends(home.allowed, "disconnect")
    assert (sent.state, sent.code, sent.meter, sent.provider) == ("waits", "accepted", "main", "Netz")
    assert home.device.acts == []
    await home.step()
    done = await home.status(sent.id)
    assert (done.state, done.code, done.switch) == ("done", "switched", "disconnected")
    receipt = Receipt.read(done.receipt, home.root.public_key, "the receipt")
    assert (receipt.number, receipt.previous) == (1, cose.digest(sent.receipt))
    assert (receipt.state, receipt.switch, receipt.stream) == ("done", "disconnected", home.stream_id)
    home.clock.pass_s(2 * 3600)  # a disconnect outlasts its time
    await home.crashes_and_starts()
    await home.step()
    assert home.device.acts == ["disconnect"]
    back = await home.sends(home.allowed, "reconnect")
    await home.step()
    assert (await home.status(back.id)).switch == "connected"
    assert (await home.status(sent.id)).code == "reconnected"
    assert home.device.acts == ["disconnect", "connect"]


async def test_what_somebody_undoes_by_hand_is_not_done_again(home: CommandedHome) -> None:
    await home.sends(home.allowed, "disconnect")
    await home.step()
    home.device.connected = True
    await home.step()
    await home.crashes_and_starts()
    await home.step()
    assert home.device.connected


async def test_the_home_stays_disconnected_while_another_provider_holds_it(home: CommandedHome) -> None:
    home.commands[1] |= {"disconnect": "allow", "reconnect": "allow"}
    await home.crashes_and_starts()
    first = await home.sends(home.allowed, "disconnect")
    second = await home.sends(home.asked, "disconnect")
    await home.step()
    back = await home.sends(home.asked, "reconnect")
    await home.step()
    assert ((await home.status(back.id)).code, (await home.status(second.id)).code) == ("held", "reconnected")
    assert ((await home.status(first.id)).state, home.device.connected) == ("done", False)
    await home.sends(home.allowed, "reconnect")
    await home.step()
    assert home.device.connected


@pytest.mark.parametrize("way", ["clock", "clock set back", "untrusted", "restarts", "forward"])
async def test_a_limit_ends_by_itself(home: CommandedHome, way: str) -> None:
    sent = await home.sends(home.allowed, "limit", until_ms=home.clock.now_ms + HOUR_MS)
    await home.step()
    running = await home.status(sent.id)
    assert (running.state, running.limit_w, home.device.limit) == ("running", 4200, 4200)
    assert Receipt.read(running.receipt, home.root.public_key, "it").limit_w == 4200
    if way == "clock set back":
        home.clock.step_s(-86_400)
    if way == "untrusted":
        home.clock.is_trusted = False
        home.clock.step_s(-86_400 * 1000)
    for minute in range(60):
        assert home.device.limit == 4200, minute
        home.clock.pass_s(60)
        if way == "forward" and minute == 10:
            home.clock.step_s(3600)
            await home.step()
            break
        if way == "restarts" and minute % 10 == 0:
            await home.step()
            await home.crashes_and_starts()
        await home.step()
    assert home.device.limit is None
    assert ((await home.status(sent.id)).state, (await home.status(sent.id)).code) == ("ended", "over")
    assert home.device.acts == ["limit 4200", "limit None"]


async def test_a_limit_that_ended_while_the_gateway_was_off_is_lifted_at_its_start(
    home: CommandedHome,
) -> None:
    sent = await home.sends(home.allowed, "limit")
    await home.step()
    home.clock.pass_s(2 * 3600)
    await home.crashes_and_starts()
    home.device.reachable = False
    await home.step()
    assert (await home.status(sent.id)).code == "over"  # its time is over, whatever the meter says
    (fault,) = home.session.commander.faults
    assert "the limit is over, and not lifted yet" in fault
    assert (await home.status(sent.id)).fault == fault
    await home.crashes_and_starts()
    home.device.reachable = True
    await home.step()
    assert (home.device.limit, home.session.commander.faults) == (None, ())


async def test_the_lowest_limit_counts_and_a_later_one_takes_the_place_of_an_earlier(
    home: CommandedHome,
) -> None:
    home.commands[1] |= {"limit": "allow"}
    await home.crashes_and_starts()
    first = await home.sends(home.allowed, "limit", limit_w=5000)
    await home.sends(home.asked, "limit", limit_w=4200, until_ms=home.clock.now_ms + 20 * MINUTE_MS)
    await home.step()
    assert home.device.limit == 4200
    later = home.clock.now_ms + 10 * MINUTE_MS
    second = await home.sends(home.allowed, "limit", limit_w=8000, from_ms=later, until_ms=later + HOUR_MS)
    await home.step()
    assert (await home.status(first.id)).state == "running"  # until the second one begins
    home.clock.pass_s(600)
    await home.step()
    assert ((await home.status(first.id)).code, (await home.status(second.id)).state) == (
        "replaced",
        "running",
    )
    home.clock.pass_s(600)
    await home.step()
    assert home.device.limit == 8000
    home.clock.pass_s(3600)
    await home.step()
    assert home.device.acts == ["limit 4200", "limit 8000", "limit None"]


async def test_a_message_is_shown_within_its_time(home: CommandedHome) -> None:
    later = home.clock.now_ms + MINUTE_MS
    sent = await home.sends(home.allowed, "message", from_ms=later, text="Wartung <script>")
    await home.step()
    assert (await home.status(sent.id)).state == "waits"
    home.clock.pass_s(60)
    await home.step()
    shown = await home.status(sent.id)
    assert (shown.state, shown.code, shown.text) == ("done", "shown", "Wartung <script>")


async def test_the_household_decides(home: CommandedHome) -> None:
    commander = home.session.commander
    one, two, three = [await home.sends(home.asked, kind) for kind in ("disconnect", "limit", "message")]
    assert {one.state, two.state, three.state} == {"asks"}
    await home.step()
    await home.crashes_and_starts()
    commander = home.session.commander
    await home.step()
    assert home.device.acts == []
    assert len(await commander.open_commands()) == 3
    assert (await commander.decide(bytes.fromhex(one.id), True)).state == "waits"
    assert (await commander.decide(bytes.fromhex(two.id), False)).code == "owner"
    home.clock.pass_s(3600)
    with pytest.raises(UsageError, match="is not asked about this command: the household refuses it"):
        await commander.decide(bytes.fromhex(two.id), True)
    await home.step()
    assert ((await home.status(three.id)).state, (await home.status(three.id)).code) == (
        "expired",
        "undecided",
    )
    assert (await home.status(one.id)).code == "unreached"  # decided, but its time was over by then
    with pytest.raises(UsageError, match=r"there is no command 0000"):
        await commander.decide(bytes(16), True)
    assert home.device.acts == []


async def test_a_decision_after_its_time_changes_nothing(home: CommandedHome) -> None:
    """Also where no step was made since: it expires for want of a decision, and not of a meter."""
    sent = await home.sends(home.asked, "disconnect")
    home.clock.pass_s(3600)
    with pytest.raises(UsageError, match="its time was over before the household decided"):
        await home.session.commander.decide(bytes.fromhex(sent.id), True)
    found = await home.status(sent.id)
    assert (found.state, found.code) == ("expired", "undecided")
    await home.step()
    assert home.device.acts == []


async def test_the_household_ends_a_limit_by_hand(home: CommandedHome) -> None:
    """The next lowest is set then, or none; the receipt says who ended it, over restarts and repetitions."""
    commander = home.session.commander
    lowest = home.asked.signs(home.commands_of(home.asked, "limit", limit_w=1000))
    sent = await commander.receive(lowest)
    other = await home.sends(home.allowed, "limit", limit_w=3000)
    assert not sent.endable  # it is asked about
    await commander.decide(bytes.fromhex(sent.id), True)
    await home.step()
    assert home.device.limit == 1000
    assert (await home.status(sent.id)).endable
    ended = await commander.end(bytes.fromhex(sent.id))
    assert (ended.state, ended.code, ended.endable) == ("refused", "owner", False)
    receipt = Receipt.read(ended.receipt, home.root.public_key, "it")
    assert receipt.text == "the household ended it before its time was over"
    assert receipt.number == 3  # asks, waits, running
    await home.step()
    assert home.device.limit == 3000
    lines = [one.detail for one in await home.ledger.audit_log(50) if "Stadtwerke" in one.detail]
    assert lines[-1].endswith("refused: the household ended it before its time was over")
    await home.crashes_and_starts()
    await home.step()
    assert (await home.session.commander.receive(lowest)).code == "owner"
    await home.step()
    assert home.device.limit == 3000
    home.clock.pass_s(3600)
    await home.step()
    assert home.device.limit is None
    assert (await home.status(other.id)).code == "over"


async def test_a_limit_that_was_ended_is_lifted_by_a_gateway_that_starts_anew(home: CommandedHome) -> None:
    sent = await home.sends(home.asked, "limit")
    await home.session.commander.decide(bytes.fromhex(sent.id), True)
    await home.step()
    home.device.reachable = False
    await home.session.commander.end(bytes.fromhex(sent.id))
    await home.step()
    assert home.device.limit == 4200
    await home.crashes_and_starts()
    home.device.reachable = True
    await home.step()
    assert home.device.limit is None
    assert (await home.status(sent.id)).code == "owner"


async def test_a_limit_that_has_not_begun_can_be_ended(home: CommandedHome) -> None:
    sent = await home.sends(home.asked, "limit", from_ms=home.clock.now_ms + MINUTE_MS)
    await home.session.commander.decide(bytes.fromhex(sent.id), True)
    await home.session.commander.end(bytes.fromhex(sent.id))
    home.clock.pass_s(120)
    await home.step()
    assert home.device.acts == []


async def test_what_cannot_be_ended_by_hand(home: CommandedHome) -> None:
    commander = home.session.commander
    limit, off, asked = [
        await home.sends(*what)
        for what in ((home.allowed, "limit"), (home.allowed, "disconnect"), (home.asked, "limit"))
    ]
    await home.step()
    with pytest.raises(UsageError, match="limits of Netz are carried out without asking, and end when their"):
        await commander.end(bytes.fromhex(limit.id))
    for one, said in ((off, "it was carried out"), (asked, "the household is asked")):
        with pytest.raises(UsageError, match=f"only a limit that is in force .* receipt says: {said}"):
            await commander.end(bytes.fromhex(one.id))
    assert home.device.limit == 4200
    await commander.decide(bytes.fromhex(asked.id), True)
    home.clock.pass_s(3600)
    with pytest.raises(UsageError, match="last receipt says: its time was over before the meter"):
        await commander.end(bytes.fromhex(asked.id))
    with pytest.raises(UsageError, match=r"there is no command 0000"):
        await commander.end(bytes(16))


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("limit", {"serial": 1}, "serial"),
    ("limit", {"time_ms": 2**45}, "future"),
    ("limit", {"from_ms": 0, "until_ms": 1}, "late"),
    ("limit", {"stream": bytes(16)}, "stream"),
    ("limit", {"id": bytes(16)}, "reused"),
]


@pytest.mark.parametrize(("kind", "changes", "code"), REFUSED)
async def test_what_is_refused_gets_a_receipt_and_a_line(
    home: CommandedHome, kind: str, changes: dict[str, Any], code: str
) -> None:
    await home.sends(home.allowed, "message", id=bytes(16))
    sent = await home.sends(home.allowed, kind, **changes)
    assert (sent.state, sent.code) == ("refused", code)
    receipt = Receipt.read(sent.receipt, home.root.public_key, "the receipt")
    assert (receipt.state, receipt.code, receipt.number) == ("refused", code, 0)
    await home.step()
    assert home.device.acts == []
    (line,) = [line for line in await home.ledger.audit_log(9) if "refused" in line.detail]
    assert line.detail.endswith(f": refused: {receipt.text}")


async def test_without_a_section_everything_is_refused_messages_too(home: CommandedHome) -> None:
    await home.ledger.keep_cards([(home.stranger.card.kid, home.stranger.card_bytes())])
    for kind in ("disconnect", "reconnect", "limit", "message"):
        assert (await home.sends(home.stranger, kind)).code == "policy"
    assert [card.known_by for card in await home.session.commander.cards()].count("granted") == 1


async def test_a_forged_command_gets_no_receipt_and_few_lines(home: CommandedHome) -> None:
    good = home.allowed.signs(home.commands_of(home.allowed, "disconnect"))
    forged = [
        home.stranger.signs(home.commands_of(home.stranger, "disconnect")),
        home.stranger.signs(replace(home.commands_of(home.allowed, "disconnect"))),
        good[:-1] + bytes([good[-1] ^ 1]),
        good.replace(b"disconnect", b"reconnects"),
        b"",
        home.allowed.signs(home.allowed.card),
        home.allowed.signs(home.commands_of(home.allowed, "limit", provider=home.asked.card.kid)),
    ]
    before = len(await home.ledger.audit_log(1000))
    for data in forged * 20:
        with pytest.raises(Refused):
            await home.session.commander.receive(data)
    assert len(await home.ledger.audit_log(1000)) == before + 1
    home.clock.pass_s(60)
    with pytest.raises(Refused):
        await home.session.commander.receive(forged[0])
    assert "(140 such since the last line)" in (await home.ledger.audit_log(1))[0].detail
    assert await home.session.commander.statuses() == []
    await home.step()
    assert home.device.acts == []


async def test_a_replayed_command_is_answered_and_not_carried_out_again(home: CommandedHome) -> None:
    data = home.allowed.signs(home.commands_of(home.allowed, "disconnect"))
    await home.session.commander.receive(data)
    await home.step()
    await home.sends(home.allowed, "reconnect")
    await home.step()
    for _ in range(3):
        again = await home.session.commander.receive(data)
        assert (again.state, again.code) == ("ended", "reconnected")
        await home.step()
        await home.crashes_and_starts()
    assert home.device.acts == ["disconnect", "connect"]
    lines = [line.detail for line in await home.ledger.audit_log(99) if "came again" in line.detail]
    assert len(lines) == 1


async def test_an_expired_card_is_refused_and_burns_no_serial(home: CommandedHome) -> None:
    home.clock.pass_s(400 * 86_400)
    sent = await home.sends(home.allowed, "limit", serial=2**63 - 1)
    assert (sent.state, sent.code) == ("refused", "card")
    (line,) = await home.ledger.audit_log(1)
    assert "has expired" in line.detail
    (home.folder / "Netz.cose").write_bytes(
        home.allowed.card_bytes(valid_until_ms=home.clock.now_ms + 10 * HOUR_MS)
    )
    await home.crashes_and_starts()
    assert (await home.sends(home.allowed, "limit", serial=5)).state == "waits"


async def test_a_cut_between_acting_and_noting_costs_nothing(home: CommandedHome) -> None:
    sent = await home.sends(home.allowed, "disconnect")
    limit = await home.sends(home.allowed, "limit")
    home.device.cut = True
    with pytest.raises(PowerCut):  # at the limit
        await home.step()
    await home.crashes_and_starts()
    assert (await home.status(limit.id)).state == "waits"
    home.device.cut = True
    with pytest.raises(PowerCut):  # at the switch
        await home.step()
    await home.crashes_and_starts()
    await home.step()
    assert ((await home.status(sent.id)).state, (await home.status(limit.id)).state) == ("done", "running")
    assert home.device.acts == ["limit 4200", "disconnect"]
    home.device.cut = True
    home.clock.pass_s(3600)
    with pytest.raises(PowerCut):
        await home.step()
    await home.crashes_and_starts()
    await home.step()
    assert home.device.acts == ["limit 4200", "disconnect", "limit None"]
    assert await home.ledger.limited() == set()


async def test_a_meter_that_is_not_reached_is_tried_again_until_the_time_is_over(
    home: CommandedHome,
) -> None:
    home.device.reachable = False
    sent = await home.sends(home.allowed, "disconnect")
    other = await home.sends(home.allowed, "limit", until_ms=home.clock.now_ms + 2 * HOUR_MS)
    for _ in range(3):
        await home.step()
    waiting = await home.status(sent.id)
    assert (waiting.state, waiting.code) == ("waits", "unreached")
    assert waiting.fault == "commands to meter main: the device does not answer"
    assert home.session.commander.faults[0] == waiting.fault
    assert "device" not in Receipt.read(waiting.receipt, home.root.public_key, "it").text
    home.clock.pass_s(3600)
    home.device.reachable = True
    await home.step()
    assert ((await home.status(sent.id)).state, (await home.status(sent.id)).code) == ("expired", "unreached")
    assert (await home.status(other.id)).state == "running"
    assert home.device.acts == ["limit 4200"]


async def test_what_the_meter_cannot_is_refused(home: CommandedHome) -> None:
    home.session._controls.clear()
    for kind in ("disconnect", "reconnect", "limit"):
        assert (await home.sends(home.allowed, kind)).code == "unable"
    assert (await home.sends(home.allowed, "message")).state == "waits"


async def test_nothing_is_checked_before_the_clock_is_set(home: CommandedHome) -> None:
    home.clock.is_trusted = False
    with pytest.raises(Unavailable, match="the clock is not set yet"):
        await home.sends(home.allowed, "limit")
    home.clock.is_trusted = True
    assert (await home.sends(home.allowed, "limit")).state == "waits"


async def test_a_provider_that_floods_is_held_off(home: CommandedHome) -> None:
    for _ in range(60):
        await home.sends(home.allowed, "message", from_ms=0, until_ms=1)
    with pytest.raises(Unavailable, match="60 commands within a minute"):
        await home.sends(home.allowed, "message")
    assert (await home.sends(home.asked, "message")).state == "asks"
    home.clock.pass_s(61)
    assert (await home.sends(home.allowed, "message")).state == "waits"


async def test_few_commands_are_kept_and_none_that_is_live(home: CommandedHome) -> None:
    sent = await home.sends(home.allowed, "disconnect")
    await home.step()
    for n in range(210):
        if n % 50 == 0:
            home.clock.pass_s(61)
        await home.sends(home.allowed, "message", from_ms=0, until_ms=1)
    for _ in range(2):
        kept = await home.session.commander.statuses()
        assert (len(kept), kept[-1].id) == (201, sent.id)
        await home.crashes_and_starts()


async def test_what_is_published_by_the_households_daemon(home: CommandedHome) -> None:
    home.section = {
        "switch": {"mqtt": {"topic": "home/relay", "on": "ON", "off": "OFF"}},
        "limit": {"mqtt": {"topic": "home/limit", "off": "none"}},
    }
    await home.crashes_and_starts()
    home.session._controls |= with_topics(home.config().meter, home.session._controls)
    commander = home.session.commander
    sent = await home.sends(home.allowed, "disconnect")
    limit = await home.sends(home.allowed, "limit")
    await home.step()
    due = (await home.status(sent.id)).act
    assert due == Act(topic="home/relay", payload="OFF")
    assert (await home.status(limit.id)).act == Act(topic="home/limit", payload="4200")
    wrong = Act(topic="home/relay", payload="ON")
    assert (await commander.acted(bytes.fromhex(sent.id), wrong)).act == due
    assert (await commander.acted(bytes.fromhex(sent.id), due)).act is None
    await commander.acted(bytes.fromhex(limit.id), Act(topic="home/limit", payload="4200"))
    await home.step()
    done = await home.status(sent.id)
    assert (done.state, done.switch) == ("done", None)  # nothing reads it back
    assert (await home.status(limit.id)).state == "running"
    home.clock.pass_s(3600)
    await home.step()
    assert (await home.status(limit.id)).state == "ended"
    assert (await home.status(limit.id)).act == Act(topic="home/limit", payload="none")
    assert await home.ledger.limited() == {"main"}
    await commander.acted(bytes.fromhex(limit.id), Act(topic="home/limit", payload="none"))
    await home.step()
    assert await home.ledger.limited() == set()
    assert commander.faults == ()
    again = await home.sends(home.allowed, "disconnect")  # somebody may have switched it by hand
    await home.step()
    assert (await home.status(again.id)).act == Act(topic="home/relay", payload="OFF")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"^\[\[commands\]\] from .*/x.cose: the file cannot be read: No such file or directory$"),
        (b"", r"^\[\[commands\]\] from .*/x.cose"),
        ("gateway", r"^\[\[commands\]\] from .*/x.cose: the card is a gateway's$"),
        ("twice", r"^\[\[commands\]\] from .*/x.cose: another section has this card$"),
    ],
)
async def test_the_file_of_a_card_that_cannot_be_used(
    home: CommandedHome, content: bytes | str | None, sentence: str
) -> None:
    path = home.folder / "x.cose"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "gateway":
        path.write_bytes(home.stranger.card_bytes(role="gateway"))
    elif content == "twice":
        path.write_bytes(home.allowed.card_bytes())
    home.commands.append({"from": str(path)})
    with pytest.raises((UsageError, Refused), match=sentence):
        await home.session_begins()


def test_a_utility_commands_what_the_wire_allows() -> None:
    utility = Utility(0)
    assert isinstance(utility.command(bytes(16), "limit", 1), Command)
