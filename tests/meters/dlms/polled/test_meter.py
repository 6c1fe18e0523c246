from __future__ import annotations

import asyncio
import random
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.errors import MeterError, UsageError
from gateway.host.clock import Clock
from gateway.meters.dlms.application import association
from gateway.meters.dlms.application.association import HLS5, LLS, NONE
from gateway.meters.dlms.polled import disconnector
from gateway.meters.dlms.polled.meter import DlmsMeter
from gateway.meters.dlms.polled.model import DlmsModel, parse_model
from gateway.meters.endpoint import Tcp
from gateway.meters.secrets import Secrets
from gateway.meters.toml_table import TomlTable as Table
from gateway.simulate.dlms import DlmsMeterSimulation, Framing
from gateway.simulate.dlms_server import Policy
from gateway.simulate.home import Home
from tests.meters.bench import NS, FastClock, StillClock, raw_server
from tests.meters.dlms.peers import KEYS, OTHER_KEY, PASSWORD, optical_head, policy, simulated

MODEL = """
clock = "0-0:1.0.0"
serial_number = "0-0:96.1.0"

[link]
framing = "wrapper"
client = 1
server = 1

[security]
authentication = "none"
protection = "none"

[load_profile]
obis = "1-0:99.1.0"
period_s = 900

[[register]]
name = "import"
obis = "1-0:1.8.0"

[[register]]
name = "export"
obis = "1-0:2.8.0"
rollover_kwh = 1000000

[[register]]
name = "power"
obis = "1-0:1.7.0"
less = "1-0:2.7.0"
"""
LANES = ("import", "export", "power")
DAY_S = 86_400
_AUTHENTICATIONS = {NONE: "none", LLS: "lls", HLS5: "hls5"}
_PROTECTIONS = {0: "none", 0x10: "authenticated", 0x20: "encrypted", 0x30: "authenticated-encrypted"}


def parsed(text: str) -> DlmsModel:
    keys = Table(tomllib.loads(text, parse_float=Decimal), "test.toml")
    model = parse_model(keys)
    keys.end()
    return model


def model(policy: Policy, framing: Framing = "wrapper", *, counter: bool = False) -> DlmsModel:
    """The model of the simulated meter."""
    text = MODEL.replace('framing = "wrapper"', f'framing = "{framing}"')
    security = f"""
authentication = "{_AUTHENTICATIONS[policy.mechanism]}"
protection = "{_PROTECTIONS[policy.protection]}"
"""
    text = text.replace('\nauthentication = "none"\nprotection = "none"\n', security)
    return parsed(text.replace("[security]", '[security]\ncounter = "0-0:43.1.0"') if counter else text)


SECRETS = Secrets(KEYS.encryption, KEYS.authentication, PASSWORD)


@asynccontextmanager
async def reader(
    port: int, clock: Clock, file: Path, model: DlmsModel, secrets: Secrets = SECRETS, timeout_s: float = 5
) -> AsyncIterator[DlmsMeter]:
    endpoint = Tcp("127.0.0.1", port)
    meter = DlmsMeter("house", model, endpoint, secrets, file, lanes=LANES, clock=clock, timeout_s=timeout_s)
    try:
        yield meter
    finally:
        await meter.aclose()


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize(
    "policy",
    [policy(), policy(LLS), policy(HLS5), policy(HLS5, 0x30), policy(NONE, 0x20), policy(LLS, 0x10)],
    ids=lambda p: f"{p.mechanism}-{p.protection:#x}",
)
async def test_a_meter_is_read(policy: Policy, framing: Framing, tmp_path: Path) -> None:
    clock = StillClock()
    async with (
        simulated(policy, framing, clock) as (simulation, port),
        reader(port, clock, tmp_path / "counter", model(policy, framing, counter=True)) as meter,
    ):
        reading = await meter.read()
        home = simulation.objects
        assert reading.meter == "house"
        assert reading.registers == dict(home.shown)
        assert reading.registers["import"] == 1_500_000_000
        assert (reading.wall, reading.monotonic) == (clock.wall(), clock.monotonic())
        assert reading.serial == "12345678"
        assert reading.meter_time == clock.wall()
        clock.pass_s(30)
        later = await meter.read()
        assert later.registers["import"] >= reading.registers["import"]
        assert later.registers == dict(home.shown)
        assert later.meter_time is None  # once a minute is enough
        clock.pass_s(31)
        assert (await meter.read()).meter_time == clock.wall()
        assert (await meter.probe()).plausible
        assert "'GWS'" in (await meter.probe()).sentence
    assert meter.rollover == {"export": 10**12}
    assert not meter.pushes


async def test_what_a_meter_remembers_is_what_it_showed(tmp_path: Path) -> None:
    """Each entry holds what its registers held at the end of the second before it."""
    clock, wanted = StillClock(), policy(HLS5, 0x30)
    truth: dict[int, dict[str, int]] = {}
    async with (
        simulated(wanted, "wrapper", clock) as (simulation, port),
        reader(port, clock, tmp_path / "counter", model(wanted)) as meter,
    ):
        assert meter.load_profile is not None
        assert meter.load_profile.period_s == 900
        before = (await meter.read()).wall
        for _ in range(3600):
            clock.pass_s(1)
            simulation.objects.live.catch_up()
            truth[clock.wall() // NS] = dict(simulation.objects.shown)
        remembered = await meter.remembered(before)
        assert len(remembered) == 4
        for reading in remembered:
            unit = reading.wall // NS
            assert (unit + 1) % 900 == 0
            assert reading.registers == {lane: truth[unit][lane] for lane in ("import", "export")}
            assert clock.wall() - reading.wall == clock.monotonic() - reading.monotonic
            assert reading.meter_time == (unit + 1) * NS
        # from an entry's own time on, it is not there any more
        stamp = remembered[1].wall // NS * NS + NS
        assert await meter.remembered(stamp) == remembered[2:]
        assert await meter.remembered(clock.wall()) == []


@pytest.mark.parametrize("ahead_s", [-7261.0, -0.4, 0.4, 3600.0])
async def test_entries_are_placed_by_their_age(ahead_s: float, tmp_path: Path) -> None:
    """Whatever the meter's clock says."""
    clock = StillClock(20_605 * DAY_S + 43_230.3)
    async with (
        simulated(policy(), "wrapper", clock) as (simulation, port),
        reader(port, clock, tmp_path / "counter", model(policy())) as meter,
    ):
        simulation.objects.set_clock(clock.wall() + round(ahead_s * NS))
        before = clock.wall()
        clock.pass_s(4000)
        remembered = await meter.remembered(before)
        assert len(remembered) in (4, 5)
        for reading in remembered:
            assert reading.meter_time is not None
            real = reading.meter_time - simulation.objects.ahead
            assert real - NS < reading.wall < real + NS


async def test_a_model_without_a_load_profile_is_read_without_one(tmp_path: Path) -> None:
    clock = StillClock()
    without = parsed(MODEL.replace('[load_profile]\nobis = "1-0:99.1.0"\nperiod_s = 900\n', ""))
    async with (
        simulated(policy(), "wrapper", clock) as (simulation, port),
        reader(port, clock, tmp_path / "counter", without) as meter,
    ):
        assert meter.load_profile is None
        assert (await meter.read()).registers == dict(simulation.objects.shown)


async def test_many_days_are_remembered(tmp_path: Path) -> None:
    clock, wanted = StillClock(), replace(policy(HLS5, 0x30), longest=300)
    async with (
        simulated(wanted, "wrapper", clock, 10 * DAY_S) as (_, port),
        reader(port, clock, tmp_path / "counter", model(wanted)) as meter,
    ):
        remembered = await meter.remembered(clock.wall() - 10 * DAY_S * NS)
        walls = [reading.wall for reading in remembered]
        assert len(walls) == 960
        assert walls == sorted(set(walls))
        assert len(await meter.remembered(0)) == 960


async def test_a_file_that_is_lost_goes_on_above_what_the_meter_saw(tmp_path: Path) -> None:
    clock, wanted = StillClock(), policy(HLS5, 0x30)
    file = tmp_path / "counter"
    async with simulated(wanted, "wrapper", clock) as (simulation, port):
        simulation.server.received = 1_000_000
        async with reader(port, clock, file, model(wanted)) as meter:
            with pytest.raises(MeterError, match="invocation counter is too low"):
                await meter.read()
        async with reader(port, clock, file, model(wanted, counter=True)) as meter:
            await meter.read()
        seen = simulation.server.received
        assert seen > 1_000_000
        async with reader(port, clock, file, model(wanted)) as meter:  # the file has it now
            await meter.read()
        file.unlink()
        async with reader(port, clock, file, model(wanted, counter=True)) as meter:
            await meter.read()
            # another client with the same keys goes far ahead: the meter tells, and is asked again
            simulation.server.received = 2_000_000
            with pytest.raises(MeterError, match="counter is too low"):
                await meter.read()
            with pytest.raises(MeterError, match="counter is too low"):
                await meter.read()
            await meter.read()


@pytest.mark.parametrize("seen", [0xFFFF_FFF0, 0xF000_0001])
async def test_a_counter_that_leaves_none_is_not_believed(seen: int, tmp_path: Path) -> None:
    clock, wanted = StillClock(), policy(HLS5, 0x30)
    file = tmp_path / "counter"
    async with simulated(wanted, "wrapper", clock) as (simulation, port):
        simulation.server.received = seen
        async with reader(port, clock, file, model(wanted, counter=True)) as meter:
            with pytest.raises(MeterError, match="not a number from 0 to 0xf0000000"):
                await meter.read()
            assert not file.exists()
            simulation.server.received = 7
            await meter.read()


async def test_the_switch_is_thrown_and_seen(tmp_path: Path) -> None:
    clock, wanted = StillClock(), policy(HLS5, 0x30)
    async with (
        simulated(wanted, "hdlc", clock) as (simulation, port),
        reader(port, clock, tmp_path / "counter", model(wanted, "hdlc")) as meter,
    ):
        for throw, connected in (
            (disconnector.remote_disconnect, False),
            (disconnector.remote_reconnect, True),
        ):
            await meter.perform(throw)
            assert simulation.objects.connected is connected
            state = await meter.perform(disconnector.read_state)
            assert (state.connected, int(state.control)) == (connected, int(connected))


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_a_meter_that_restarts_is_read_again(framing: Framing, tmp_path: Path) -> None:
    clock = StillClock()
    async with simulated(policy(LLS), framing, clock) as (_, port):
        meter = DlmsMeter(
            *("house", model(policy(LLS), framing), Tcp("127.0.0.1", port), SECRETS, tmp_path / "counter"),
            lanes=LANES,
            clock=clock,
        )
        await meter.read()
    with pytest.raises(MeterError, match=r"ended the connection|is gone|cannot open"):
        await meter.read()
    async with simulated(policy(LLS), framing, clock, port=port):
        await meter.read()
        await meter.aclose()
        await meter.aclose()
        assert (await meter.read()).registers["import"] == 1_500_000_000
        await meter.aclose()


@pytest.mark.slow
async def test_a_meter_is_read_through_its_optical_port(tmp_path: Path) -> None:
    """Behind a converter: at 300 Bd it says what it is, then it goes into HDLC."""
    clock, wanted = StillClock(), policy(LLS)
    simulation = DlmsMeterSimulation(Home(1, clock.wall() // NS), wanted, clock)
    by_mode_e = replace(model(wanted, "hdlc"), link=replace(model(wanted, "hdlc").link, framing="mode-e"))
    async with (
        raw_server(optical_head(simulation.connection("hdlc"))) as port,
        reader(port, clock, tmp_path / "counter", by_mode_e) as meter,
    ):
        for _ in range(2):
            assert (await meter.read()).registers == dict(simulation.objects.shown)
            clock.pass_s(5)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_answers_in_any_pieces_with_noise_between_are_read(framing: Framing, tmp_path: Path) -> None:
    """Over TCP there is no noise."""
    clock, wanted = StillClock(), replace(policy(HLS5, 0x30), longest=200)
    simulation = DlmsMeterSimulation(Home(1, clock.wall() // NS - 7200), wanted, clock)
    connection = simulation.connection(framing)
    chance = random.Random(4)

    def in_pieces(data: bytes) -> list[bytes]:
        answer = connection.receive(data)
        if framing == "hdlc":
            answer = chance.randbytes(5) + b"~\xa0~" + answer + chance.randbytes(3)
        cuts = sorted(chance.choices(range(len(answer) + 1), k=6))
        return [answer[low:high] for low, high in pairwise((0, *cuts, len(answer)))]

    async with (
        raw_server(in_pieces) as port,
        reader(port, clock, tmp_path / "counter", model(wanted, framing)) as meter,
    ):
        assert (await meter.read()).registers == dict(simulation.objects.shown)
        assert len(await meter.remembered(0)) == 8


async def test_an_association_that_was_idle_is_opened_anew(tmp_path: Path) -> None:
    """Meters end one that is not used; that is no fault."""
    clock = StillClock()
    async with simulated(policy(LLS), "wrapper", clock) as (_, port):
        cutting = Cutting(port, 1 << 30)
        async with (
            cutting.listening() as through,
            reader(through, clock, tmp_path / "counter", model(policy(LLS))) as meter,
        ):
            for wait_s, connections in ((1, 1), (30, 1), (61, 2), (3600, 3)):
                await meter.read()
                clock.pass_s(wait_s)
                await meter.read()
                assert cutting.connections == connections


async def test_a_clock_that_doubts_itself_places_nothing(tmp_path: Path) -> None:
    clock = StillClock()
    async with (
        simulated(policy(), "wrapper", clock, 3600) as (simulation, port),
        reader(port, clock, tmp_path / "counter", model(policy())) as meter,
    ):
        simulation.objects.clock_status = 0x02
        assert (await meter.read()).meter_time is None
        with pytest.raises(MeterError, match="marks its own clock as doubtful"):
            await meter.remembered(0)


async def test_one_refusal_costs_no_connection(tmp_path: Path) -> None:
    clock = StillClock()
    wrong = replace(model(policy()).registers[0], obis=bytes((1, 0, 9, 9, 9, 255)))
    wanted = replace(model(policy()), registers=(wrong, *model(policy()).registers[1:]))
    async with simulated(policy(), "wrapper", clock) as (_, port):
        cutting = Cutting(port, 1 << 30)
        async with (
            cutting.listening() as through,
            reader(through, clock, tmp_path / "counter", wanted) as meter,
        ):
            for _ in range(3):
                with pytest.raises(MeterError, match=r"meter house: .*no such object: 1-0:9.9.9.255"):
                    await meter.read()
            plausible = await meter.probe()
            assert not plausible.plausible
            assert "is it the profile's model" in plausible.sentence
        assert cutting.connections == 1


async def test_leaving_a_meter_releases_it(tmp_path: Path) -> None:
    clock, asked = StillClock(), []
    connection = DlmsMeterSimulation(Home(1, clock.wall() // NS), policy(), clock).connection("wrapper")

    def heard(data: bytes) -> list[bytes]:
        asked.append(data[8])
        return [connection.receive(data)]

    async with raw_server(heard) as port, reader(port, clock, tmp_path / "c", model(policy())) as meter:
        await meter.read()
    assert asked[0] == association.AARQ
    assert asked[-1] == association.RLRQ


async def test_a_clock_beyond_all_years_is_told(tmp_path: Path) -> None:
    clock = StillClock()
    async with (
        simulated(policy(), "wrapper", clock) as (simulation, port),
        reader(port, clock, tmp_path / "counter", model(policy())) as meter,
    ):
        await meter.read()
        simulation.objects.ahead = -clock.wall() - 62_135_596_000 * NS  # the first hours of the year 1
        with pytest.raises(MeterError, match="year 9999"):
            await meter.remembered(0)


@pytest.mark.parametrize(
    ("secrets", "sentence"),
    [
        (Secrets(OTHER_KEY, KEYS.authentication), "check the keys|wrong encryption|check both keys"),
        (Secrets(KEYS.encryption, OTHER_KEY), "check the keys|wrong encryption|check both keys"),
    ],
)
async def test_a_wrong_key_is_told(secrets: Secrets, sentence: str, tmp_path: Path) -> None:
    clock, wanted = StillClock(), policy(HLS5, 0x30)
    async with (
        simulated(wanted, "wrapper", clock) as (_, port),
        reader(port, clock, tmp_path / "counter", model(wanted), secrets) as meter,
    ):
        with pytest.raises(MeterError, match=sentence):
            await meter.read()


async def test_missing_secrets_and_lanes_are_asked_for(tmp_path: Path) -> None:
    def meter(policy: Policy, secrets: Secrets, lanes: tuple[str, ...] = LANES) -> DlmsMeter:
        endpoint = Tcp("127.0.0.1", 1)
        return DlmsMeter(
            "house", model(policy), endpoint, secrets, tmp_path / "c", lanes=lanes, clock=StillClock()
        )

    with pytest.raises(UsageError, match=r"meter house: .*password"):
        meter(policy(LLS), Secrets())
    with pytest.raises(UsageError, match=r"meter house: .*encryption_key"):
        meter(policy(HLS5), Secrets(password=PASSWORD))
    with pytest.raises(UsageError, match=r"meter house: .*authentication key"):
        meter(policy(HLS5), Secrets(KEYS.encryption))
    with pytest.raises(UsageError, match="no lane 'water'"):
        meter(policy(), Secrets(), ("water",))


async def test_silence_has_an_end(tmp_path: Path) -> None:
    async with (
        raw_server(lambda _: [b""]) as port,
        reader(port, StillClock(), tmp_path / "c", model(policy()), timeout_s=0.05) as meter,
    ):
        with pytest.raises(MeterError, match=r"meter house: the meter does not answer within 0\.05 s"):
            await meter.read()


async def test_each_start_has_a_system_title_of_its_own(tmp_path: Path) -> None:
    """So that an old copy of the counter's file makes no nonce come twice."""
    titles = set()

    def silent(message: bytes) -> list[bytes]:
        titles.add(association.parse_request(message[8:]).title)
        return []

    async with raw_server(silent) as port:
        for _ in range(3):
            wanted = model(policy(HLS5, 0x30))
            async with reader(port, StillClock(), tmp_path / "c", wanted, timeout_s=0.05) as meter:
                with pytest.raises(MeterError, match="does not answer"):
                    await meter.read()
    assert [len(title or b"") for title in titles] == [8, 8, 8]


class Cutting:
    """Passes a meter's answers on, but hangs up behind the byte `at` of them."""

    def __init__(self, port: int, at: int) -> None:
        self._port, self._left = port, at
        self.passed = 0
        self.connections = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        talks: list[asyncio.Task[None]] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            there, back = await asyncio.open_connection("127.0.0.1", self._port)

            async def forward() -> None:
                while data := await reader.read(4096):
                    back.write(data)
                back.write_eof()

            forwarding = asyncio.create_task(forward())
            while self._left and (data := await there.read(4096)):
                writer.write(data[: self._left])
                self.passed += len(data)
                self._left -= min(self._left, len(data))
            await writer.drain()
            forwarding.cancel()
            for end in (writer, back):
                end.close()
            await asyncio.gather(forwarding, return_exceptions=True)

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            talks.append(asyncio.create_task(talk(reader, writer)))

        server = await asyncio.start_server(begin, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await asyncio.wait_for(asyncio.gather(*talks, return_exceptions=True), 20)


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_a_connection_that_ends_at_any_byte_of_a_long_answer_costs_nothing(
    framing: Framing, tmp_path: Path
) -> None:
    """The next connection reads all of it, and each register is what it was."""
    clock = StillClock()
    wanted = replace(policy(HLS5, 0x30), longest=200)
    async with simulated(wanted, framing, clock, DAY_S // 8) as (_, port):
        async with reader(port, clock, tmp_path / "counter", model(wanted, framing)) as meter:
            truth = await meter.remembered(0)
        assert len(truth) == 12
        whole = Cutting(port, 1 << 30)
        async with (
            whole.listening() as through,
            reader(through, clock, tmp_path / "counter", model(wanted, framing)) as meter,
        ):
            await meter.remembered(0)
            answered = whole.passed
        assert answered > 1000
        for at in range(0, answered, 37):
            cutting = Cutting(port, at)
            async with (
                cutting.listening() as through,
                reader(through, clock, tmp_path / "counter", model(wanted, framing)) as meter,
            ):
                with pytest.raises(MeterError):
                    await meter.remembered(0)
        async with reader(port, clock, tmp_path / "counter", model(wanted, framing)) as meter:
            assert await meter.remembered(0) == truth


async def test_a_read_that_is_cancelled_leaves_no_answer_for_the_next(tmp_path: Path) -> None:
    clock = FastClock()
    async with (
        simulated(policy(), "wrapper", clock) as (_, port),
        reader(port, clock, tmp_path / "counter", model(policy())) as meter,
    ):
        for turns in range(40):
            reading = asyncio.create_task(meter.read())
            for _ in range(turns):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            assert (await meter.read()).registers["import"] >= 1_500_000_000


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('name = "export"', 'name = "import"', "two registers are for lane import"),
        ('name = "export"', 'name = "gas"', "must be one of import, export, power"),
        ('obis = "1-0:1.8.0"', 'obis = "1.8.0"', "obis"),
        ("client = 1\n", "client = 200\n", "client is 200"),
        ('framing = "wrapper"', 'framing = "mbus"', "framing"),
        ('protection = "none"', 'protection = "some"', "protection"),
        ("server = 1", "server = 1\nphysical = 16", "physical is not a known key"),
        ('less = "1-0:2.7.0"', 'less = "x"', "less"),
        ('obis = "1-0:1.8.0"', 'obis = "1-0:1.8.0"\nless = "1-0:2.8.0"', "less is for power only"),
        ("period_s = 900", "period_s = 0", "period_s"),
    ],
)
def test_a_model_that_cannot_be_is_refused(old: str, new: str, sentence: str) -> None:
    assert old in MODEL
    with pytest.raises(UsageError, match=sentence):
        parsed(MODEL.replace(old, new))


def test_an_hdlc_address_that_cannot_be_is_refused() -> None:
    text = MODEL.replace('framing = "wrapper"', 'framing = "hdlc"')
    assert parsed(text.replace("server = 1", "server = 1\nphysical = 300")).link.physical == 300
    with pytest.raises(UsageError, match="do not make an HDLC address"):
        parsed(text.replace("server = 1", "server = 1\nphysical = 300\naddress_size = 2"))
