"""What a scan says of a port whose telegrams it can, or cannot, decode."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gateway.meters.detect import Heard, hear
from gateway.meters.dlms.push.model import DlmsPushModel
from gateway.meters.endpoint import Tcp
from gateway.meters.p1.model import P1Model
from gateway.meters.profile import load_profile, profile_ids
from gateway.meters.reading import Decoder
from gateway.meters.secrets import Secrets
from gateway.meters.sml.model import SmlModel
from gateway.simulate.p1 import seal, seal_lines, telegram

EK, AK = bytes(range(16)), bytes(range(16, 32))
LINES = ["1-0:1.8.0(000001.000*kWh)", "1-0:1.7.0(00.123*kW)", "1-0:2.7.0(00.000*kW)"]
GOOD = telegram(LINES)


def decoders() -> dict[str, Decoder]:
    """Those of all meters that push and do not encrypt."""
    models = {one: load_profile(one).model for one in profile_ids()}
    return {
        one: model.decoder(Secrets())
        for one, model in models.items()
        if isinstance(model, SmlModel | P1Model | DlmsPushModel) and not getattr(model, "encrypted", False)
    }


async def heard(data: bytes) -> Heard:
    gone = asyncio.Event()

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(send, "127.0.0.1", 0)
    try:
        found = await hear(Tcp("127.0.0.1", server.sockets[0].getsockname()[1]), decoders(), 0.7)
        await gone.wait()
    finally:
        server.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (GOOD.replace(b"1.000", b"1.001"), "a P1 telegram's check sequence is wrong"),
        (telegram(["1-0:1.8.9(1*kWh)"], None), "a P1 telegram ends without a check sequence"),
        (seal(GOOD, EK, AK, 1), "the meter encrypts its P1 telegrams"),
        (seal_lines(GOOD, EK, AK), "the meter encrypts its P1 telegrams"),
        (telegram(["1-0:1.8.0(1*kvarh)"]), "a P1 telegram has no number in any of the registers"),
    ],
)
async def test_what_no_profile_decodes_has_its_own_sentence(data: bytes, sentence: str) -> None:
    found = await heard(data * 2)
    assert found.octets == 2 * len(data)
    assert found.profiles == {}
    assert found.problem is not None
    assert found.problem.startswith(sentence)


@pytest.mark.slow
async def test_the_profiles_of_each_check_sequence() -> None:
    for data, profile in (
        (telegram([*LINES, "1-0:2.8.0(000000.000*kWh)"], None), "slovenia-p1"),
        (telegram(LINES, "x25", "HLY5/D545-METER"), "holley-dtsd545"),
        (telegram(LINES, "arc", "HLY5/D545-METER"), "hungary-p1"),
    ):
        found = await heard(b"noise" + data)
        assert found.problem is None
        assert "import" in found.profiles[profile]
        assert "dsmr-2.2" not in found.profiles or profile == "slovenia-p1"


@pytest.mark.slow
async def test_silence() -> None:
    assert await heard(b"") == Heard(0, {})
    assert await heard(b"hello") == Heard(5, {})


async def test_what_never_ends_is_not_heard_for_long() -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(b"\xa5" * 65536)
                await writer.drain()

    server = await asyncio.start_server(flood, "127.0.0.1")
    async with server, asyncio.timeout(30):
        found = await hear(Tcp("127.0.0.1", server.sockets[0].getsockname()[1]), decoders(), 3600)
    assert found.octets < 2**19
    assert not found.profiles
