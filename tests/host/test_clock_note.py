"""The clock that one process asks the kernel about, and that others believe."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.host import clock
from gateway.host.clock import SystemClock
from gateway.host.clock_note import note


def test_it_notes_nothing_before_the_clock_is_synchronised(tmp_path: Path) -> None:
    file = tmp_path / "synchronised"
    answers = iter([False, False, True])
    waited: list[bool] = []
    note(file, lambda: next(answers), lambda seconds: waited.append(file.exists()))
    assert waited == [False, False]
    assert file.read_bytes() == b""
    note(file, lambda: True)  # at a restart of the service


def test_a_clock_is_trusted_by_the_note_or_by_the_kernels_own_word_and_then_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, kernel = tmp_path / "synchronised", False
    monkeypatch.setattr(clock, "SYNCHRONISED", file)
    monkeypatch.setattr(clock, "kernel_synchronised", lambda: kernel)
    by_note, by_kernel = SystemClock(), SystemClock()
    assert not by_note.trusted()
    file.touch()
    assert by_note.trusted()
    file.unlink()
    assert by_note.trusted()
    assert not by_kernel.trusted()
    kernel = True
    assert by_kernel.trusted()
    kernel = False
    assert by_kernel.trusted()
