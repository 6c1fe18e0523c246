"""A file is the old one or the new one, whatever fails on the way; one that holds secrets is its owner's."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import UsageError
from gateway.host.files import read_private, write_all_durably, write_durably


def test_a_file_and_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "counter"
    write_durably(path, b"1")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"1", 0o600)
    write_durably(path, b"2", 0o644)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"2", 0o644)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "fchmod", "rename"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "counter"
    write_durably(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    target, name = (Path, "replace") if step == "rename" else (os, step)
    monkeypatch.setattr(target, name, fail)
    with pytest.raises(OSError, match="No space left"):
        write_durably(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_bytes_are_on_the_disk_before_their_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def noted_replace(self: Path, target: Path) -> Path:
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_durably(tmp_path / "counter", b"1")
    assert done == ["file", "rename", "folder"]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o660, 0o700])
def test_a_private_file_is_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"\xff5ec4e7")
    path.chmod(mode)
    assert read_private(path, "the keys") == b"\xff5ec4e7"


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o777])
def test_a_private_file_that_is_open_to_all_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"5ec4e7")
    path.chmod(mode)
    with pytest.raises(UsageError) as caught:
        read_private(path, "the keys")
    assert str(caught.value) == (
        f"{path} is open to every user of this machine (mode {mode:04o}): chmod 0600 {path}"
    )


def test_a_private_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    with pytest.raises(UsageError, match=rf"^the keys cannot be read from {path}: No such file"):
        read_private(path, "the keys")
    with pytest.raises(UsageError, match=r"^make some$"):
        read_private(path, "the keys", "make some")
    with pytest.raises(UsageError, match=rf"^the keys cannot be read from {tmp_path}: Is a directory"):
        read_private(tmp_path, "the keys", "make some")


def test_many_files_at_once(tmp_path: Path) -> None:
    files = {tmp_path / str(n): bytes([n]) for n in range(5)}
    write_durably(tmp_path / "3", b"old", 0o644)
    write_all_durably(files)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    write_all_durably({})


@pytest.mark.parametrize("step", ["sync", "fchmod", "rename"])
def test_a_failure_leaves_each_of_many_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    files = {tmp_path / str(n): b"new" for n in range(5)}
    for path in files:
        write_durably(path, b"old")
    calls, replace = 0, Path.replace

    def fail(*arguments: Path) -> None:
        nonlocal calls
        calls += 1
        if step != "rename" or calls == 3:
            raise OSError(28, "No space left on device")
        replace(*arguments)

    target, name = (Path, "replace") if step == "rename" else (os, step)
    monkeypatch.setattr(target, name, fail)
    with pytest.raises(OSError, match="No space left"):
        write_all_durably(files)
    monkeypatch.undo()
    found = [path.read_bytes() for path in files]
    assert set(found) <= {b"old", b"new"}
    assert found.count(b"new") == (2 if step == "rename" else 0)
    assert set(tmp_path.iterdir()) == set(files)


def test_many_files_bytes_are_on_the_disk_before_their_names_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noted(what: str, act: Callable[..., None]) -> Callable[..., None]:
        def noting(*arguments: Any) -> None:
            done.append(what)
            act(*arguments)

        return noting

    for target, name, what in ((os, "sync", "sync"), (os, "fsync", "folder"), (Path, "replace", "rename")):
        monkeypatch.setattr(target, name, noted(what, getattr(target, name)))
    write_all_durably({tmp_path / "1": b"", tmp_path / "2": b""})
    assert done == ["sync", "rename", "rename", "folder"]
