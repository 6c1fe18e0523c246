"""The setup at the control socket: a configuration checked, tried, written; a gateway that waits for one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from gateway.control.client import ControlClient
from gateway.control.setup import ConfigurationOrder, SearchOrder, TrialOrder, digest_of
from gateway.daemon.setup import SECRETS, Setup
from gateway.errors import Refused, Unavailable, UsageError

GOOD = """\
[store]
url = "s3://home"
endpoint = "http://127.0.0.1:1"
credentials = "./secrets/s3"
[[meter]]
name = "main"
profile = "eastron-sdm630"
tcp = { host = "127.0.0.1" }
"""
KEYS = "access_key_id=a\nsecret_access_key=b\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


async def test_a_configuration_is_written_with_its_secrets_and_told(path: Path) -> None:
    changes: list[str] = []
    setup = Setup(path, lambda: changes.append("changed"))
    assert setup.status().text is None
    status = await setup.write(ConfigurationOrder(text=GOOD, secrets={"s3": KEYS}))
    assert status.mistakes == ()
    assert path.read_text() == GOOD
    assert (path.parent / SECRETS / "s3").read_text() == KEYS
    assert (path.parent / SECRETS / "s3").stat().st_mode & 0o077 == 0
    assert changes == ["changed"]
    assert setup.status().text == GOOD
    assert KEYS not in repr(status)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[store\n", "this is not valid TOML"),
        (GOOD.replace("eastron-sdm630", "eastron-sdm63"), "sdm63"),
        (GOOD.replace('url = "s3://home"\n', ""), "[store] url is missing"),
        ("", "[store]"),
        ("x = " + "[" * 3000, "this is not valid TOML"),
        (GOOD + "[trust]\nroot = 'none'\n", "[trust] root"),
    ],
)
async def test_one_with_mistakes_is_not_written_and_each_is_a_sentence(
    path: Path, text: str, sentence: str
) -> None:
    path.write_text("the one before")
    setup = Setup(path, lambda: pytest.fail("it changed"))
    status = await setup.write(ConfigurationOrder(text=text, secrets={"s3": KEYS}))
    assert sentence in "\n".join(status.mistakes)
    assert all(one.startswith(str(path)) for one in status.mistakes)
    assert path.read_text() == "the one before"
    assert not (path.parent / SECRETS).exists()


async def test_a_text_that_changed_meanwhile_is_not_written_over(path: Path) -> None:
    setup = Setup(path)
    await setup.write(ConfigurationOrder(text=GOOD, replaces=digest_of(None)))
    mine, theirs = GOOD + "# mine\n", GOOD + "# theirs\n"
    await setup.write(ConfigurationOrder(text=theirs, replaces=digest_of(GOOD)))
    for replaces in (digest_of(GOOD), digest_of(None), "x"):
        order = ConfigurationOrder(text=mine, secrets={"s3": KEYS}, replaces=replaces)
        with pytest.raises(Refused, match="changed by somebody else meanwhile, and nothing was written"):
            await setup.write(order)
    assert path.read_text() == theirs
    assert not (path.parent / SECRETS).exists()
    await setup.write(ConfigurationOrder(text=mine, replaces=digest_of(theirs)))
    await setup.write(ConfigurationOrder(text=GOOD))  # whatever there is
    assert path.read_text() == GOOD


async def test_a_dry_run_writes_nothing(path: Path) -> None:
    setup = Setup(path, lambda: pytest.fail("it changed"))
    status = await setup.write(ConfigurationOrder(text=GOOD, secrets={"s3": KEYS}, dry_run=True))
    assert status.mistakes == ()
    assert not path.exists()
    assert not (path.parent / SECRETS).exists()


@pytest.mark.parametrize("name", ["", "../s3", "/etc/passwd", "S3", ".", "a/b", "x" * 65, "s3\n"])
async def test_a_secret_lands_in_its_folder_alone(path: Path, name: str) -> None:
    for order in (
        ConfigurationOrder(text=GOOD, secrets={name: "x"}),
        ConfigurationOrder(text=GOOD, secrets={name: "x"}, dry_run=True),
    ):
        with pytest.raises(UsageError, match="a secret's name"):
            await Setup(path).write(order)
    assert list(path.parent.iterdir()) == []


async def test_the_socket_stays_where_the_page_asks(path: Path) -> None:
    secrets = {"s3": KEYS}
    assert (await Setup(path).write(ConfigurationOrder(text=GOOD, secrets=secrets))).mistakes == ()
    moved = GOOD + '[gateway]\nsocket = "./elsewhere"\n'
    (mistake,) = (await Setup(path).write(ConfigurationOrder(text=moved, secrets=secrets))).mistakes
    assert "asks at /run/gateway/control.sock" in mistake
    assert path.read_text() == GOOD


async def test_a_secret_is_text(path: Path) -> None:
    order = ConfigurationOrder.model_construct(text=GOOD, secrets={"s3": "\ud800"}, dry_run=False)
    with pytest.raises(UsageError, match="the secret s3 is not text"):
        await Setup(path).write(order)
    assert list(path.parent.iterdir()) == []


async def test_a_cut_leaves_the_old_configuration_and_its_secrets_or_the_new_ones(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut before each step that changes the folder: what the next start finds belongs together."""
    old, new = ConfigurationOrder(text=GOOD, secrets={"s3": KEYS}), GOOD + "\n# new\n"
    found, cut = set(), 1
    while True:
        await Setup(path).write(old)
        with monkeypatch.context() as patched:
            steps = iter(range(1, cut))
            for what in ("replace", "rmdir", "mkdir"):
                patched.setattr(Path, what, _until_cut(getattr(Path, what), steps))
            try:
                await Setup(path).write(ConfigurationOrder(text=new, secrets={"s3": KEYS * 2, "meter": "k"}))
                break
            except _Cut:
                pass
        Setup(path)
        secrets = {file.name: file.read_text() for file in (path.parent / SECRETS).iterdir()}
        found.add((path.read_text(), secrets["s3"]))
        cut += 1
        (path.parent / SECRETS / "meter").unlink(missing_ok=True)
    assert found == {(GOOD, KEYS), (new, KEYS * 2)}
    assert {file.name for file in path.parent.iterdir()} <= {path.name, SECRETS}


class _Cut(Exception):
    """The machine is off."""


def _until_cut(real: Callable[..., object], steps: Iterator[int]) -> Callable[..., object]:
    def step(*arguments: object, **named: object) -> object:
        if next(steps, None) is None:
            raise _Cut
        return real(*arguments, **named)

    return step


async def test_a_part_is_tried_with_secrets_that_are_not_written_yet(path: Path) -> None:
    finding = await Setup(path).try_part(
        TrialOrder(
            part="store",
            section={"url": "s3://home", "endpoint": "http://127.0.0.1:1", "credentials": "./secrets/s3"},
            secrets={"s3": KEYS},
        )
    )
    assert not finding.ok
    assert "127.0.0.1:1" in finding.sentence
    assert list(path.parent.iterdir()) == []


async def test_a_folder_as_store_is_tried(path: Path, tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    finding = await Setup(path).try_part(TrialOrder(part="store", section={"url": str(tmp_path / "bucket")}))
    assert finding.ok, finding.sentence


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({}, "is missing"),
        ({"name": "main", "profile": "nothing", "tcp": {"host": "127.0.0.1"}}, "nothing"),
        ({"name": "main", "profile": "eastron-sdm630"}, "main"),
        ({"name": "main", "profile": "eastron-sdm630", "tcp": {"host": "127.0.0.1", "port": 1}}, "127.0.0.1"),
    ],
)
async def test_a_meter_that_cannot_be_read_is_a_finding(
    path: Path, section: dict[str, object], sentence: str
) -> None:
    finding = await Setup(path).try_part(TrialOrder(part="meter", section=section))
    assert not finding.ok
    assert sentence in finding.sentence
    assert str(path.parent) not in finding.sentence


async def test_a_search_takes_one_place_and_says_what_it_did_not_find(path: Path) -> None:
    for wrong in ({}, {"host": "a", "device": "/dev/ttyUSB0"}, {"device": "/etc/passwd"}, {"host": ""}, 1):
        with pytest.raises(UsageError):
            SearchOrder.parse(wrong)
    answer = await Setup(path).search(SearchOrder(host="127.0.0.1", port=1, most_ids=1))
    assert answer.found == ()
    assert answer.sentence


@pytest.mark.slow
async def test_a_gateway_without_configuration_waits_for_one(path: Path, tmp_path: Path) -> None:
    """The real command: it answers at its socket, refuses all else with a sentence, and goes on under what is
    written; another configuration written later is taken up too."""
    socket = tmp_path / "control.sock"
    store = f'[gateway]\nstate = "{tmp_path}/state"\nsocket = "{socket}"\n[clock]\nsource = "host"\n'
    store += f'[trust]\nroot = "software"\n[store]\nurl = "{tmp_path}/bucket"\n'
    meter = '[[meter]]\nname = "main"\nprofile = "eastron-sdm630"\ntcp = { host = "127.0.0.1", port = 1 }\n'
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("gateway"),
        "run",
        "--config",
        str(path),
        "--setup",
        str(socket),
        stderr=asyncio.subprocess.PIPE,
    )
    client = ControlClient(socket)
    try:
        assert process.stderr is not None
        while b"waits at" not in await process.stderr.readline():
            pass
        await _until(socket.exists)
        with pytest.raises(Unavailable, match="not set up yet"):
            await client.status()
        assert (await client.configuration()).text is None
        answer = await client.configure(ConfigurationOrder(text=store))
        assert "meter" in answer.mistakes[0]
        answer = await client.configure(ConfigurationOrder(text=store + meter))
        assert answer.mistakes == ()
        for text, name in ((None, "main"), (store + meter.replace("main", "cellar"), "cellar")):
            if text is not None:
                await client.configure(ConfigurationOrder(text=text))
            await _until(partial(_reads, client, name))
        # What it cannot run with is said, and corrected where it was written.
        nowhere = 'url = "s3://meters"\nendpoint = "http://127.0.0.1:1"\ncredentials = "./none"'
        unusable = (store + meter).replace(f'url = "{tmp_path}/bucket"', nowhere)
        assert (await client.configure(ConfigurationOrder(text=unusable))).mistakes == ()
        await _until(partial(_says, client, "cannot run: the store's credentials cannot be read"))
        await client.configure(ConfigurationOrder(text=store + meter.replace("main", "cellar")))
        await _until(partial(_reads, client, "cellar"))
        assert {one.part for one in await client.doctor()} >= {"clock", "root", "meter cellar", "store"}
    finally:
        process.terminate()
        assert await process.wait() == 0


async def _until(happened: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for what a process of its own does."""
    async with asyncio.timeout(60):
        while not (  # noqa: ASYNC110 - of another process
            found if isinstance(found := happened(), bool) else await found
        ):
            await asyncio.sleep(0.02)


async def _reads(client: ControlClient, name: str) -> bool:
    try:
        return name in [one.meter for one in (await client.status()).meters]
    except Unavailable:
        return False


async def _says(client: ControlClient, sentence: str) -> bool:
    try:
        await client.status()
    except Unavailable as error:
        return sentence in str(error)
    return False


async def test_each_model_says_how_it_is_reached(path: Path, tmp_path: Path) -> None:
    setup = Setup(path)
    serving = asyncio.create_task(setup.wait(tmp_path / "s"))
    try:
        await _until((tmp_path / "s").exists)
        profiles = {one.profile: one for one in await ControlClient(tmp_path / "s").profiles()}
    finally:
        serving.cancel()
    modbus, p1, dlms = profiles["eastron-sdm630"], profiles["dsmr-5"], profiles["dlms-generic"]
    assert (modbus.serial, modbus.tcp_port, modbus.modbus, modbus.keys) == (True, 502, True, False)
    assert (p1.serial, p1.tcp_port, p1.modbus, p1.keys) == (True, None, False, False)
    assert dlms.keys


async def test_a_key_that_cannot_be_is_named_without_the_folder_of_the_trial(path: Path) -> None:
    finding = await Setup(path).try_part(
        TrialOrder(
            part="meter",
            section={
                "name": "main",
                "profile": "idis-tcp",
                "lanes": ["import", "count"],
                "tcp": {"host": "127.0.0.1"},
                "keys": "./secrets/meter-main",
            },
            secrets={"meter-main": 'encryption_key = "zz"\n'},
        )
    )
    assert not finding.ok
    assert finding.sentence.startswith("meter-main: encryption_key must be a string of 32 hex digits")
