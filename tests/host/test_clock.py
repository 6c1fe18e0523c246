"""Whether the machine's clock is synchronised: the kernel's bound of its error says so, no flag does."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.host.clock import bounded

STA_PLL, STA_UNSYNC = 0x0001, 0x0040
NTP_PHASE_LIMIT = 16_000_000  # us


class Timex(ctypes.Structure):
    """The beginning of struct timex as <sys/timex.h> has it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 128),
    )


def timex(**fields: int) -> bytes:
    return bytes(Timex(**fields))


@pytest.mark.parametrize(
    ("what", "most_us", "status", "expected"),
    [
        ("just booted", NTP_PHASE_LIMIT, STA_UNSYNC, False),
        ("set by hand, which makes the kernel forget its bound", NTP_PHASE_LIMIT, STA_UNSYNC, False),
        ("systemd-timesyncd", 0, STA_PLL, True),
        ("chrony with rtcsync", 9_776, 0, True),
        ("chrony without rtcsync", 9_776, STA_UNSYNC, True),
        ("its servers gone for nine hours", NTP_PHASE_LIMIT, STA_PLL | STA_UNSYNC, False),
        ("a daemon that never bounds the error", NTP_PHASE_LIMIT, STA_PLL, False),
    ],
)
def test_clocks_of_real_machines(what: str, most_us: int, status: int, expected: bool) -> None:
    assert bounded(timex(maxerror=most_us, status=status)) is expected, what


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(0, 0xFFFF))
def test_nothing_but_the_bound_counts(most_us: int, other: int, status: int) -> None:
    given_by = timex(maxerror=most_us, status=status, offset=other, freq=other, esterror=other)
    assert bounded(given_by) is (0 <= most_us < NTP_PHASE_LIMIT)


def test_this_machine_answers() -> None:
    """In a process of its own: the call writes as much as the kernel likes."""
    asked = "from gateway.host.clock import kernel_synchronised as ask; print(ask())"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert said.stdout.strip() in {"True", "False"}
