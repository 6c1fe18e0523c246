from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import MeterSection
from gateway.config.wiring import open_meters
from gateway.errors import MeterError
from gateway.meters.dlms.application.apdu import Action, Get, Set
from gateway.meters.dlms.application.association import HLS5, LLS
from gateway.meters.dlms.application.refusal import AccessError
from gateway.meters.dlms.cosem import date_time
from gateway.meters.dlms.cosem.data import Array, DoubleLongUnsigned, encode
from gateway.meters.dlms.cosem.objects import (
    CLOCK,
    DATA,
    PROFILE_GENERIC,
    PUBLIC_CLIENT,
    REGISTER,
    Reference,
    obis,
    rows_numbered,
)
from gateway.meters.dlms.polled.model import DlmsModel
from gateway.meters.profile import load_profile, profile_ids
from gateway.simulate.dlms import DlmsMeterSimulation, Framing, serve
from gateway.simulate.dlms_server import Policy
from gateway.simulate.home import Home
from tests.meters.bench import NOON_S, NS, DrivenClock, StillClock, raw_server, until
from tests.meters.dlms.peers import (
    KEYS,
    PASSWORD,
    connection,
    meter,
    optical_head,
    policy,
    session,
    simulated,
    talk,
)

ASKED = [i for i in profile_ids() if isinstance(load_profile(i).model, DlmsModel)]
BUFFER = Reference(PROFILE_GENERIC, obis("1-0:99.1.0"), 2)
SERVER = meter(policy())


@pytest.mark.slow
@pytest.mark.parametrize("profile_id", ASKED)
async def test_each_profile_reads_the_home(profile_id: str, tmp_path: Path) -> None:
    """Every profile end to end: opened as configured, probed, read to the Wh, and what it remembers."""
    clock, model = StillClock(), load_profile(profile_id).model
    assert isinstance(model, DlmsModel)
    security = model.security
    wanted = Policy(security.mechanism, security.protection, KEYS if security.counts else None, PASSWORD)
    assert KEYS.authentication is not None
    keys = tmp_path / "keys.toml"
    keys.write_text(
        f'encryption_key = "{KEYS.encryption.hex()}"\nauthentication_key = "{KEYS.authentication.hex()}"\n'
        f'password = "{PASSWORD.decode()}"\n'
    )
    keys.chmod(0o600)
    framing: Framing = "wrapper" if model.link.framing == "wrapper" else "hdlc"
    async with (
        simulated(wanted, framing, clock, 7200) as (simulation, port),
        raw_server(optical_head(simulation.connection("hdlc"))) as optical_port,
    ):
        port = optical_port if model.link.framing == "mode-e" else port
        tcp = {"host": "127.0.0.1", "port": port}
        values = {"name": "main", "profile": profile_id, "tcp": tcp, "keys": str(keys)}
        (main,) = open_meters((MeterSection.model_validate(values),), clock, state=tmp_path).values()
        found = await main.probe()
        assert found.plausible, found.sentence
        before = await main.read()
        assert before.registers == dict(simulation.objects.shown)
        clock.pass_s(3600)
        after = await main.read()
        assert after.registers == dict(simulation.objects.shown)
        assert main.load_profile is not None
        assert main.load_profile.period_s == 900
        remembered = await main.load_profile.remembered(before.wall)
        await main.aclose()
    assert len(remembered) == 4
    stages = [before, *remembered, after]
    for lane in ("import", "export"):
        values_of = [reading.registers[lane] for reading in stages]
        assert values_of == sorted(values_of)
    assert after.registers["export"] > before.registers["export"]


async def test_the_truth_tells_every_second(tmp_path: Path) -> None:
    clock, truth = StillClock(), tmp_path / "truth.jsonl"
    home = Home(5, NOON_S)
    simulation = DlmsMeterSimulation(home, policy(), clock, truth)
    serving = asyncio.create_task(serve(simulation, "wrapper", "127.0.0.1", 0))
    for _ in range(5):
        clock.pass_s(1)
        await until(lambda: home.second == clock.wall() // NS)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert [line["unit"] for line in lines] == list(range(NOON_S, NOON_S + 6))
    again = Home(5, NOON_S)
    for line in lines:
        again.advance_to(line["unit"])
        assert line["import_mwh"] == again.import_mwh // 1000 * 1000
        assert line["power_w"] == again.power


def test_the_public_client_reads_little() -> None:
    server = meter(policy(HLS5, 0x30))
    public, answer = session(policy()), connection(server, PUBLIC_CLIENT)
    talk(public.associate(), answer)
    for class_id, code in ((DATA, "0-0:42.0.0"), (DATA, "0-0:43.1.0"), (CLOCK, "0-0:1.0.0")):
        talk(public.get(Reference(class_id, obis(code), 2)), answer)
    for class_id, code in ((REGISTER, "1-0:1.8.0"), (DATA, "0-0:96.1.0"), (PROFILE_GENERIC, "1-0:99.1.0")):
        with pytest.raises(AccessError, match="no right"):
            talk(public.get(Reference(class_id, obis(code), 2)), answer)
    with pytest.raises(AccessError, match="no right"):
        talk(public.set(Reference(CLOCK, obis("0-0:1.0.0"), 2), date_time.encode(0, 0)), answer)
    with pytest.raises(AccessError, match="no right"):
        talk(public.action(Reference(70, obis("0-0:96.3.10"), 1)), answer)


_GET = Get(0xC1, BUFFER, rows_numbered(1, 5)).encode()
_SET = Set(0xC1, Reference(CLOCK, obis("0-0:1.0.0"), 2), encode(date_time.encode(NOON_S * NS, 0))).encode()


@given(
    st.sampled_from([_GET, _SET, Action(0xC1, BUFFER).encode(), b"\xe0\x80\0\1\0\0\0", b"\x62\0", b""]),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3),
    st.binary(max_size=10),
)
def test_any_message_is_answered(message: bytes, changes: list[tuple[int, int]], more: bytes) -> None:
    answer = connection(SERVER)
    talk(session(policy()).associate(), answer)
    altered = bytearray(message + more)
    for at, octet in changes:
        if at < len(altered):
            altered[at] = octet
    assert answer(bytes(altered))


def test_nothing_is_read_before_the_keys_are_proved() -> None:
    server = meter(policy(HLS5))
    answer = connection(server)
    client = session(policy(HLS5))
    steps = client.associate()
    steps.send(answer(next(steps)))  # and no proof
    with pytest.raises(MeterError, match="cannot do that now"):
        talk(client.get(Reference(DATA, obis("0-0:96.1.0"), 2)), answer)


def test_one_connection_knows_nothing_of_anothers_association() -> None:
    server = meter(policy(LLS))
    client, mine, other = session(policy(LLS)), connection(server), connection(server)
    talk(client.associate(), mine)
    with pytest.raises(MeterError, match="cannot do that now"):
        talk(client.get(Reference(DATA, obis("0-0:96.1.0"), 2)), other)


def test_the_load_profile_follows_the_meters_own_clock() -> None:
    """A clock that is set forward leaves stamps out, one that is set back gives some twice: as meters do."""
    clock = DrivenClock()
    server = meter(policy(), clock)
    client, answer = session(policy()), connection(server)
    talk(client.associate(), answer)

    def stamps() -> list[int]:
        rows = talk(client.get(BUFFER), answer)
        assert isinstance(rows, Array)
        found = []
        for row in rows:
            assert isinstance(row, tuple)
            assert isinstance(row[0], bytes)
            assert isinstance(row[1], DoubleLongUnsigned)
            found.append(date_time.decode(row[0]).unix_ns // NS - NOON_S)
        return found

    def set_clock(after_noon_s: int) -> None:
        moment = date_time.encode((NOON_S + after_noon_s) * NS, 0)
        talk(client.set(Reference(CLOCK, obis("0-0:1.0.0"), 2), moment), answer)

    clock.pass_s(1000)
    assert stamps() == [900]
    set_clock(5000)
    clock.pass_s(1000)
    assert stamps() == [900, 5400]
    set_clock(800)
    clock.pass_s(200)
    assert stamps() == [900, 5400, 900]
