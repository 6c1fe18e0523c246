"""RAUC's handler on folders, as a process: it does what a model says, and a cut at any step leaves a choice
that boots.

A cut is a process killed as it calls sync or mv; what was not synced by then may be lost or torn.
"""

from __future__ import annotations

import configparser
import os
import random
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "image/root/usr/lib/gateway/rauc-boot"
SLOTS = "AB"
FIRST = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
TOOL = """#!/bin/sh
n=$(($(cat "{board}/calls") + 1))
echo $n >"{board}/calls"
if [ $n = "$(cat "{board}/cut" 2>/dev/null)" ]; then
    case "{name} $1" in
    "sync -f") [ ! -e "{board}/lost" ] || /bin/mv "{board}/before" "$(cat "{board}/renamed")" ;;
    "sync "*) truncate -s "$(cat "{board}/torn")" "$1" ;;
    esac
    kill -9 $PPID
    exit 1
fi
if [ {name} = mv ]; then
    cp "$3" "{board}/before" 2>/dev/null || : >"{board}/before"
    echo "$3" >"{board}/renamed"
fi
exec {real} "$@"
"""


class Cut(Exception):
    """The handler was killed."""


@dataclass(frozen=True)
class Model:
    """What a board's state is to be. `running` changes by a restart only."""

    running: str = "A"
    committed: str = "A"
    armed: str | None = None
    states: dict[str, str] = field(default_factory=lambda: {"A": "good", "B": "bad"})

    def primary(self) -> str:
        return self.armed or self.committed

    def set_primary(self, slot: str) -> Model:
        armed = None if slot == self.committed else slot
        return replace(self, armed=armed, states=self.states | {slot: "good"})

    def set_state(self, slot: str, state: str) -> Model | None:
        """None where it is refused."""
        armed = None if self.armed == slot else self.armed
        changed = replace(self, armed=armed, states=self.states | {slot: state})
        if state == "bad":
            return None if slot == self.committed else changed
        return replace(changed, committed=slot) if slot == self.running else changed


class Board:
    """The CONFIG partition and what the firmware and the kernel say of the boot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.config.mkdir(parents=True)
        (self.config / "autoboot.txt").write_text(FIRST)
        (folder / "bin").mkdir()
        for name, real in (("sync", "true"), ("mv", "/bin/mv")):
            tool = folder / "bin" / name
            tool.write_text(TOOL.format(board=folder, name=name, real=real))
            tool.chmod(0o755)
        script = SCRIPT.read_text()
        for name, path in (
            ("/boot/config", self.config),
            ("/proc/cmdline", folder / "cmdline"),
            ("/proc/device-tree/chosen/bootloader/partition", folder / "partition"),
        ):
            assert script.count(f"={name}\n") == 1
            script = script.replace(f"={name}\n", f"={path}\n")
        (folder / "rauc-boot").write_text(script)
        self.boot("A")

    def boot(self, slot: str) -> None:
        (self.folder / "cmdline").write_text(f"console=tty1 gateway.slot={slot.lower()} quiet\n")

    def run(self, *words: str, cut: int | None = None, torn: int = 0, lost: bool = False) -> str | None:
        """What it prints; None where it refuses. Cut where it is killed at its `cut`th step."""
        for name, content in (("calls", 0), ("cut", cut), ("torn", torn), ("lost", lost or None)):
            if content is None:
                (self.folder / name).unlink(missing_ok=True)
            else:
                (self.folder / name).write_text(f"{content}\n")
        env = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        command = ["/bin/sh", str(self.folder / "rauc-boot"), *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode == -9:
            raise Cut
        assert done.returncode in (0, 1), done.stderr
        assert (done.returncode == 1) == done.stderr.startswith("rauc-boot: "), done.stderr
        return None if done.returncode else done.stdout.strip()

    def firmware(self, *, tryboot: bool = False) -> str:
        """The slot that the firmware boots, as its documentation says."""
        text = (self.config / "autoboot.txt").read_text()
        assert len(text) <= 512
        parsed = configparser.ConfigParser()
        parsed.read_string(text)
        assert parsed["all"]["tryboot_a_b"] == "1"
        numbers = {"2": "A", "3": "B"}
        first, second = (numbers[parsed[section]["boot_partition"]] for section in ("all", "tryboot"))
        assert first != second
        return second if tryboot else first

    def seen(self) -> tuple[str, str | None, dict[str, str | None]]:
        return self.firmware(), self.run("get-primary"), {slot: self.run("get-state", slot) for slot in SLOTS}


def looks(model: Model) -> tuple[str, str | None, dict[str, str | None]]:
    return model.committed, model.primary(), {**model.states}


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "board")


def do(board: Board, model: Model, words: tuple[str, ...], **cut: int) -> Model | None:
    """Run a command on board and model; None where both refuse."""
    after = expected(model, words)
    said = board.run(*words, **cut)  # type: ignore[arg-type]
    assert (said is None) == (after is None), words
    return after


def expected(model: Model, words: tuple[str, ...]) -> Model | None:
    name, slot, *state = words
    return model.set_primary(slot) if name == "set-primary" else model.set_state(slot, *state)


COMMANDS = [("set-primary", slot) for slot in SLOTS]
COMMANDS += [("set-state", slot, state) for slot in SLOTS for state in ("good", "bad")]  # type: ignore[misc]
STEPS = st.sampled_from([*COMMANDS, ("restart",), ("tryboot",)])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=10), st.integers())
def test_it_does_what_the_model_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, ...]], seed: int
) -> None:
    """Random lives of a board, in which any command may be cut off at any step, and is then given again."""
    board, model, chance = Board(tmp_path_factory.mktemp("board") / "x"), Model(), random.Random(seed)
    for step in steps:
        if step[0] in ("restart", "tryboot"):
            slot = board.firmware(tryboot=step[0] == "tryboot")
            # What nobody installed is never booted, but where somebody asks for a trial without arming.
            assert model.states[slot] == "good" or step[0] == "tryboot"
            board.boot(slot)
            model = replace(model, running=slot)
        else:
            try:
                model = do(board, model, step, cut=chance.randint(1, 6), torn=chance.randint(0, 20)) or model
            except Cut:
                assert board.firmware() in {model.committed, model.running}
                model = do(board, model, step) or model
        assert board.run("get-current") == model.running
        assert board.seen() == looks(model)


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("torn", [0, 7])
def test_an_update_cut_off_anywhere_leaves_a_slot_that_boots(board: Board, torn: int, lost: bool) -> None:
    """Install to B, try it, commit it: cut at each step of each call, it is as before it or as after it, and
    the firmware boots a slot that nobody is writing."""
    cuts, before = 0, Model()
    for call in (
        ("set-state", "B", "bad"),
        ("set-primary", "B"),
        ("tryboot",),
        ("set-state", "B", "good"),
        ("set-state", "A", "bad"),
        ("set-primary", "A"),
    ):
        if call == ("tryboot",):
            slot = board.firmware(tryboot=True)
            assert slot == "B" == board.run("get-primary")
            board.boot(slot)
            before = replace(before, running=slot)
            continue
        after = expected(before, call)
        assert after is not None
        # Committed, and still armed, is what a commit is between its two files.
        allowed = [
            looks(before),
            looks(after),
            looks(replace(after, armed=before.armed, states=before.states)),
        ]
        step = 0
        while True:
            step += 1
            kept = {path: path.read_bytes() for path in board.config.iterdir()}
            try:
                board.run(*call, cut=step, torn=torn, lost=lost)
            except Cut:
                cuts += 1
                assert board.seen() in allowed, (call, step)
                assert before.states[board.firmware()] == "good"
                for path in board.config.iterdir():
                    path.unlink()
                for path, data in kept.items():
                    path.write_bytes(data)
                continue
            break
        assert board.seen() == looks(after)
        before = after
    assert cuts == 3 * (5 + 1)  # sync, mv, sync for each file; a commit has two files


def test_a_first_boot_knows_the_slots_without_a_file_of_states(board: Board) -> None:
    assert board.seen() == ("A", "A", {"A": "good", "B": "bad"})
    assert not (board.config / "slots.txt").exists()


@pytest.mark.parametrize("slot", SLOTS)
def test_the_running_slot_is_the_firmwares_where_the_kernel_is_not_told(board: Board, slot: str) -> None:
    (board.folder / "cmdline").write_text("console=tty1 quiet\n")
    assert board.run("get-current") is None
    partition = {"A": 2, "B": 3}[slot]
    (board.folder / "partition").write_bytes(partition.to_bytes(4, "big"))
    assert board.run("get-current") == slot
    (board.folder / "partition").write_bytes((1).to_bytes(4, "big"))
    assert board.run("get-current") is None


@pytest.mark.parametrize(
    "text", [None, "", "garbage\n", "[all]\nboot_partition=9\n", "[tryboot]\nboot_partition=2\n"]
)
def test_without_a_choice_the_running_slot_counts_and_a_commit_writes_one(
    board: Board, text: str | None
) -> None:
    choice = board.config / "autoboot.txt"
    if text is None:
        choice.unlink()
    else:
        choice.write_text(text)
    board.boot("B")
    assert board.run("get-primary") == "B"
    assert board.run("get-state", "B") == "good"
    assert board.run("set-state", "B", "bad") is None


@pytest.mark.parametrize(
    "words",
    [(), ("help",), ("set-primary",), ("set-primary", "C"), ("get-state", "a"), ("set-state", "A", "")],
)
def test_what_rauc_never_says_changes_nothing(board: Board, words: tuple[str, ...]) -> None:
    assert board.run(*words) is None
    assert [path.name for path in board.config.iterdir()] == ["autoboot.txt"]
    assert board.seen()[0] == "A"


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not here: apt-get install shellcheck")
    assert subprocess.run(["shellcheck", SCRIPT], capture_output=True, check=False).stdout == b""


def test_an_owners_file_with_other_line_ends_is_read(board: Board) -> None:
    (board.config / "autoboot.txt").write_bytes(FIRST.replace("\n", "\r\n").replace("=2", "=3").encode())
    assert board.run("get-primary") == "B"
