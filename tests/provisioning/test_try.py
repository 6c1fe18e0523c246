"""The demo, which a stranger sees first. Its parts are real, and so is the minute that it waits for."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from provisioning.demo.minutes import LANES, MINUTE_S, Minute, shown_sums
from provisioning.demo.screen import LiveScreen
from provisioning.demo.views import SOFTWARE
from tests.support.servers import wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEADLINE_S = 240  # two minutes at the most, on a machine that has other tests to run
NUMBER, SUM = r" +(-?\d+\.\d{6})", r" +(\d{1,20})"
OPENED = re.compile(rf"^  \d\d:\d\d:00{NUMBER}{NUMBER}{NUMBER}{NUMBER}  (\w+)$", re.MULTILINE)
SEALED = re.compile(rf"^  \d\d:\d\d:00{SUM}{SUM}$", re.MULTILINE)
READS = "reads the meter"


class Demo:
    """A running try.py. All that it and its parts write goes to `folder`, which is its TMPDIR."""

    def __init__(self, folder: Path, *arguments: str, terminal: int | None = None) -> None:
        folder.mkdir()
        self.folder = folder
        self._out, self._err = folder.with_suffix(".out"), folder.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, ROOT / "provisioning" / "try.py", *arguments],
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(folder), "NO_COLOR": "1", "TERM": "xterm", "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                stdout=out if terminal is None else terminal,
                stderr=err,
            )

    @property
    def said(self) -> str:
        return self._out.read_text()

    @property
    def complained(self) -> str:
        return self._err.read_text()

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        def now() -> bool:
            assert self.process.poll() is None, self.said + self.complained
            return condition()

        assert wait_for(now, DEADLINE_S), f"it did not happen that {what}: {self.said}"

    def end(self) -> int:
        return self.process.wait(DEADLINE_S)

    def state(self) -> Path:
        """The folder with its parts' files."""
        [state] = self.folder.iterdir()
        return state

    def running(self) -> dict[int, str]:
        """Its processes: their ids and command lines."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.folder).encode() in (process / "environ").read_bytes():
                    found[int(process.name)] = (process / "cmdline").read_bytes().decode()
            except (ProcessLookupError, FileNotFoundError, PermissionError):
                continue
        return found

    def nothing_is_left(self) -> bool:
        return wait_for(lambda: not self.running(), 20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Starts a demo, which ends with the test at the latest."""
    demos: list[Demo] = []

    def start(*arguments: str, terminal: int | None = None) -> Demo:
        demos.append(Demo(tmp_path / f"demo-{len(demos)}", *arguments, terminal=terminal))
        return demos[-1]

    yield start
    for demo in demos:
        demo.process.kill()
        demo.process.wait()


def closes(demo: Demo) -> int:
    """When the first minute closes, in seconds of Unix time."""
    demo.until("the grant is made", lambda: "the first minute closes" in demo.said)
    said = re.search(r"the first minute closes at \d\d:(\d\d):00", demo.said)
    assert said is not None
    this = int(time.time()) // MINUTE_S
    return next(minute * MINUTE_S for minute in range(this, this + 3) if minute % 60 == int(said[1]))


def falsify(demo: Demo, second: int) -> None:
    """Change the last digit of the export that the meter notes to have shown at a second."""
    truth = demo.state() / "truth.jsonl"
    pattern = re.compile(rb'\{"unit": %d, .*"export_mwh": \d*(\d)\D' % second)
    demo.until("the meter notes it", lambda: pattern.search(truth.read_bytes()) is not None)
    line = pattern.search(truth.read_bytes())
    assert line is not None
    with truth.open("r+b") as file:
        file.seek(line.start(1))
        file.write(b"%d" % ((int(line[1]) + 1) % 10))


def test_the_first_minute_agrees_and_a_false_meter_is_found_out(start: Callable[..., Demo]) -> None:
    """Two at once, since it takes real minutes: one in order, and one without a TPM whose meter lies."""
    good, bad = start("--once"), start("--once", "--software-root")
    falsify(bad, closes(bad) - MINUTE_S - 1)
    assert (good.end(), good.complained) == (0, ""), good.said
    assert (bad.end(), bad.complained) == (1, ""), bad.said

    [(*sums, verdict)] = OPENED.findall(good.said)
    assert (sums[:2], verdict) == (sums[2:], "agree")
    assert set(sums) > {"0.000000"} or "0.000000" not in sums  # the home drew something, or gave
    [ciphertexts] = SEALED.findall(good.said)
    assert all(int(number) > 2**40 for number in ciphertexts)  # a minute's energy is below 2^32 mWh
    for demo in (good, bad):
        assert re.search(r"10s sums of import, export\s+are not granted", demo.said)
        assert "(exit code 3)" in demo.said
        assert demo.nothing_is_left()
        assert list(demo.folder.iterdir()) == []

    [(*sums, verdict)] = OPENED.findall(bad.said)
    assert (sums[0], verdict) == (sums[2], "DIFFER")
    assert sums[1] != sums[3]
    assert (good.said.count(SOFTWARE), bad.said.count(SOFTWARE)) == (0, 2)


def test_killed_it_leaves_no_process(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.until("all parts run", lambda: READS in demo.said)
    assert len(demo.running()) >= 5
    demo.process.kill()
    demo.process.wait()
    assert demo.nothing_is_left(), demo.running()


def test_a_part_that_dies_is_named_with_its_last_words(start: Callable[..., Demo]) -> None:
    demo = start("--software-root")
    demo.until("all parts run", lambda: READS in demo.said)
    [store] = [number for number, command in demo.running().items() if "/weed\0mini" in command]
    os.kill(store, signal.SIGKILL)
    assert demo.end() == 4
    name, *log = demo.complained.splitlines()
    assert name.startswith("The store ended by signal 9.")
    assert any("S3 Endpoint" in line for line in log)
    assert demo.nothing_is_left()
    assert list(demo.folder.iterdir()) == []


def test_a_ctrl_c_on_a_terminal_ends_it_quietly(start: Callable[..., Demo]) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    demo = start("--software-root", terminal=slave)
    os.close(slave)
    heard = bytearray()

    def listen() -> None:
        with contextlib.suppress(OSError), open(master, "rb", buffering=0) as terminal:  # noqa: PTH123
            while chunk := terminal.read(4096):
                heard.extend(chunk)

    listener = threading.Thread(target=listen)
    listener.start()
    demo.until("all parts run", lambda: READS.encode() in heard)
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 128 + signal.SIGINT
    listener.join(DEADLINE_S)
    assert demo.complained == ""
    assert SOFTWARE.encode() in heard
    assert re.search(rb"\d+ s left", heard)
    assert not re.search(rb"\x1b\[(?:\d+;)*(?:3|9)[0-7]m", heard), "colours, and NO_COLOR is set"
    assert demo.nothing_is_left()
    assert list(demo.folder.iterdir()) == []


def minute(number: int, off: int = 0) -> Minute:
    sums = dict.fromkeys(LANES, 4_517)
    return Minute(MINUTE_S * number, {**sums, "export": 4_517 + off}, sums, dict.fromkeys(LANES, 2**64 - 1))


@pytest.mark.parametrize("height", [24, 50])
@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_the_picture_fits_80_columns_and_the_height(count: int, height: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=height)
    screen = LiveScreen(console, software=True)
    screen.wait("the next minute closes", 0)
    screen.hint("Ctrl-C ends it.\nAsk it")
    refusal = "gateway: 10s sums of import, export are not granted: " + "it opens no such window " * 5
    screen.first(minute(0, off=1), refusal, 3)
    for number in range(1, count):
        screen.more(minute(number))
    lines = ["".join(part.text for part in line).rstrip() for line in console.render_lines(screen.picture())]
    assert len(lines) <= height
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert len(SEALED.findall(text)) >= 1
    assert "DIFFER" in text  # also where its line has gone


def test_what_the_meter_showed_is_a_difference_of_registers(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    lines = [
        json.dumps({"unit": unit, "power_w": 0, "import_mwh": unit * 10, "export_mwh": 7 * (unit // 100)})
        for unit in range(100, 250)
    ]
    truth.write_text("\n".join(lines))  # the last line, 249, is still being written
    assert shown_sums(truth, 120) == {"import": 600, "export": 0}
    assert shown_sums(truth, 189) == {"import": 600, "export": 7}
    assert shown_sums(truth, 100) is None
    assert shown_sums(truth, 190) is None
