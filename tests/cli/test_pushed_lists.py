"""What a person is told of pushed lists that cannot be read: each cause has its own sentence."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gateway.meters.dlms.application import cipher
from gateway.meters.dlms.application.apdu import DataNotification
from gateway.meters.dlms.cosem.data import DoubleLongUnsigned, Value
from gateway.meters.dlms.cosem.objects import obis
from gateway.meters.dlms.link.hdlc import Frame
from gateway.meters.dlms.link.hdlc_link import LLC_RESPONSE

pytestmark = pytest.mark.slow

GATEWAY = str(Path(sys.executable).with_name("gateway"))
KEY, TITLE = bytes(range(16)), b"SIM\0\0\0\0\1"
KNOWN: Value = (obis("1-0:1.8.0"), DoubleLongUnsigned(5), obis("1-0:16.7.0"), DoubleLongUnsigned(7))
UNKNOWN: Value = (b"ISK1", DoubleLongUnsigned(5), b"ab")
SAID_UNKNOWN = (
    "the meter pushes an unknown list of 3 values (octets[4], u32, octets[2]): this profile has no layout "
    "for it, and none is guessed. Record it with `gateway meters capture`"
)


def framed(message: bytes) -> bytes:
    return Frame(b"\xcf", b"\x02\x23", 0x13, LLC_RESPONSE + message).encode()


def plain(body: Value) -> bytes:
    return framed(DataNotification(0, None, body).encode())


def ciphered(body: Value, counter: int, key: bytes = KEY) -> bytes:
    apdu = DataNotification(0, None, body).encode()
    sealed = cipher.seal(cipher.CipherKeys(key), cipher.ENCRYPTED, TITLE, counter, apdu)
    return framed(cipher.general_glo(TITLE, sealed))


@asynccontextmanager
async def pushing(*frames: bytes) -> AsyncIterator[str]:
    """A port at which the frames come over and over."""

    talks: set[asyncio.Task[None]] = set()

    async def push(writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                writer.write(b"".join(frames))
                await writer.drain()
                await asyncio.sleep(0.2)

    def begin(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(push(writer))
        talk.add_done_callback(lambda _: writer.transport.abort())
        talks.add(talk)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await asyncio.sleep(0)


async def run(*args: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        GATEWAY, "meters", *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def keys(tmp_path: Path) -> str:
    path = tmp_path / "main.keys"
    path.write_text(f'encryption_key = "{KEY.hex()}"\n')
    path.chmod(0o600)
    return str(path)


async def test_an_unknown_list_is_captured_and_told(tmp_path: Path) -> None:
    path = tmp_path / "unknown.json"
    meter = ("--profile", "iskraemeco-am550-si")
    async with pushing(plain(UNKNOWN)) as place:
        code, out, err = await run("capture", *meter, "--tcp", place, "--seconds", "2", "--output", str(path))
    assert code == 0
    assert f"{path}: what the meter sends. Nothing of it could be read: {SAID_UNKNOWN}" in out
    assert f"meter iskraemeco-am550-si: a telegram is skipped: {SAID_UNKNOWN}" in err
    document = json.loads(path.read_text())
    assert document["shown"] == []
    assert plain(UNKNOWN).hex() in "".join(hex for _, hex in document["bytes"])


async def test_a_scan_says_that_a_list_is_unknown() -> None:
    async with pushing(plain(UNKNOWN)) as place:
        _, out, _ = await run("scan", "--tcp", place, "--ids", "1", "--profile", "iskraemeco-am550-si")
    assert SAID_UNKNOWN in out


@pytest.mark.parametrize(
    ("frames", "with_keys", "sentence"),
    [
        ((ciphered(KNOWN, 1), ciphered(KNOWN, 2)), False, "ciphers what it pushes: its keys are needed"),
        ((plain(KNOWN), plain(KNOWN)), True, "If the meter does not encrypt, leave its keys out"),
        (
            (ciphered(KNOWN, 1, bytes(16)), ciphered(KNOWN, 2, bytes(16))),
            True,
            "the encryption key is wrong, or is not this meter's",
        ),
    ],
)
async def test_keys_that_do_not_fit_end_a_reading_at_once(
    frames: tuple[bytes, ...], with_keys: bool, sentence: str, keys: str, tmp_path: Path
) -> None:
    """And no capture is written of what cannot be read without them."""
    meter = ["--profile", "iskraemeco-am550-si", *(["--keys", keys] if with_keys else [])]
    path = tmp_path / "new.json"
    async with pushing(*frames) as place:
        async with asyncio.timeout(30):
            code, _, err = await run("read", *meter, "--tcp", place, "--once")
        assert code == 4
        assert sentence in err.splitlines()[-1]
        code, _, err = await run("capture", *meter, "--tcp", place, "--seconds", "2", "--output", str(path))
        assert code == 4
        assert sentence in err.splitlines()[-1]
    assert not path.exists()


async def test_no_capture_is_made_of_a_meter_that_encrypts(keys: str, tmp_path: Path) -> None:
    """Even if its profile is one for meters that may encrypt."""
    path = tmp_path / "new.json"
    lists = tuple(ciphered(KNOWN, counter) for counter in range(1, 40))
    async with pushing(*lists) as place:
        code, _, err = await run(
            *("capture", "--profile", "iskraemeco-am550-si", "--keys", keys),
            *("--tcp", place, "--seconds", "2", "--output", str(path)),
        )
    assert code == 2
    assert "iskraemeco-am550-si encrypts what it sends" in err
    assert not path.exists()
