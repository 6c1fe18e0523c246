"""Frames of real meters, as the profiles read them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from gateway.errors import MeterError
from gateway.meters.dlms.push.model import DlmsPushModel
from gateway.meters.profile import load_profile
from gateway.meters.reading import Telegram
from gateway.meters.secrets import Secrets

FRAMES = Path(__file__).parent / "frames"
NOE = Secrets(encryption_key=bytes.fromhex("36C66639E48A8CA4D6BC8B282A793BBB"))
COUNTED = Secrets(encryption_key=bytes(range(0x10, 0x20)))


def frames(name: str) -> list[bytes]:
    """The frames of a file: hex, one paragraph each."""
    text = "\n".join(line for line in (FRAMES / f"{name}.hex").read_text().splitlines() if line[:1] != "#")
    return [bytes.fromhex(paragraph) for paragraph in text.split("\n\n")]


def load_model(profile: str) -> DlmsPushModel:
    model = load_profile(profile).model
    assert isinstance(model, DlmsPushModel)
    return model


def said(profile: str, name: str, secrets: Secrets | None = None) -> list[Telegram | MeterError]:
    decoder = load_model(profile).decoder(secrets or Secrets())
    return [item for frame in frames(name) for item in decoder.feed(frame)]


def unix_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Expected:
    """What a frame says: energies in mWh, power in W."""

    profile: str
    frame: str
    telegrams: tuple[Telegram, ...]
    secrets: Secrets | None = None

    def __str__(self) -> str:
        return self.frame


EXPECTED = [
    Expected(
        "kamstrup-han",
        "kamstrup-list-1",
        (Telegram({"power": 826}, "5706567326590407", unix_ns("2022-01-24T18:58:50+01:00")),),
    ),
    Expected(
        "kamstrup-han",
        "kamstrup-list-2-one-phase",
        (
            Telegram(
                {"import": 7745250 * 10_000, "export": 0},
                "5705705705705702",
                unix_ns("2021-11-24T00:00:00+01:00"),
                25.0,
            ),
            Telegram({"power": 10050}, "5705705705705702"),
        ),
    ),
    Expected(
        "kamstrup-han",
        "kamstrup-list-2-document",
        (
            Telegram(
                {"import": 0, "export": 0}, "5706567000000000", unix_ns("2017-08-16T16:00:00+02:00"), 5.0
            ),
            Telegram({"power": 0}, "5706567000000000"),
        ),
    ),
    Expected(
        "kaifa-han", "kaifa-list-1", (Telegram({"power": 5502}, None, unix_ns("2020-02-15T01:25:34+01:00")),)
    ),
    Expected(
        "kaifa-han",
        "kaifa-list-2",
        (Telegram({"power": 9745}, "6970631402614476", unix_ns("2020-01-25T13:09:30+01:00")),),
    ),
    Expected(
        "kaifa-han",
        "kaifa-list-3",
        (
            Telegram(
                {"import": 79_591_144_000, "export": 0},
                "6970631402614476",
                unix_ns("2020-01-25T14:00:00+01:00"),
                10.0,
            ),
            Telegram({"power": 4904}, "6970631402614476"),
        ),
    ),
    Expected(
        "kaifa-han-se",
        "kaifa-list-se",
        (
            Telegram(
                {"import": 4_786_979_000, "export": 0, "power": 2816},
                "7340734073407340",
                unix_ns("2021-09-22T17:35:30+01:00"),
            ),
        ),
    ),
    Expected("aidon-han", "aidon-list-1", (Telegram({"power": 1661}),)),
    Expected(
        "aidon-han",
        "aidon-list-3",
        (
            Telegram(
                {"import": 2_272_138 * 10_000, "export": 0},
                "7359992892587665",
                unix_ns("2020-01-21T16:00:00+01:00"),
                10.0,
            ),
            Telegram({"power": 280}, "7359992892587665"),
        ),
    ),
    Expected(
        "aidon-han-se",
        "aidon-list-se",
        (
            Telegram(
                {"import": 10_049_926_000, "export": 8_000, "power": 1122},
                None,
                unix_ns("2019-12-16T07:59:40+01:00"),
            ),
        ),
    ),
    Expected(
        "kaifa-ma309",
        "kaifa-ma309-noe",
        (
            Telegram(
                {"import": 12_937_000, "export": 0, "power": 0},
                "4B464D6750000009",
                unix_ns("2021-09-27T09:47:15+02:00"),
            ),
        ),
        NOE,
    ),
    Expected(
        "kaifa-ma309",
        "kaifa-ma309-tyrol",
        (
            Telegram(
                {"import": 9_108_000, "export": 0, "power": 0},
                "4B464D1010000023",
                unix_ns("2021-07-19T15:46:35+02:00"),
            ),
        ),
        COUNTED,
    ),
    Expected(
        "landisgyr-e450",
        "landisgyr-e450",
        (Telegram({"import": 886_977_000, "export": 0, "power": 28}, "LGZ1030655933512"),),
    ),
    Expected(
        "landisgyr-e450",
        "landisgyr-e570",
        (
            Telegram(
                {"import": 862_055_000, "export": 641_361_000, "power": 0},
                "LGZ1030769231253",
                unix_ns("2024-03-13T09:02:45+01:00"),
            ),
        ),
        COUNTED,
    ),
    Expected(
        "landisgyr-e360",
        "landisgyr-e360",
        (
            Telegram(
                {"import": 21_956_000, "export": 4_547_000, "power": 11},
                "LGZ1030163598905",
                unix_ns("2023-06-06T17:31:20+02:00") + 180_000_000,
            ),
        ),
    ),
    Expected(
        "iskraemeco-am550",
        "iskraemeco-am550",
        (
            Telegram(
                {"import": 15_207_000, "export": 8_987_000, "power": 27},
                "ISK1030783821282",
                unix_ns("2026-05-04T19:19:30+02:00"),
            ),
        ),
    ),
]


@pytest.mark.parametrize("expected", EXPECTED, ids=str)
def test_a_real_frame_is_read(expected: Expected) -> None:
    assert said(expected.profile, expected.frame, expected.secrets) == list(expected.telegrams)


def test_every_frame_is_tested_and_has_a_source() -> None:
    files = {file.stem: file.read_text() for file in FRAMES.glob("*.hex")}
    assert set(files) == {expected.frame for expected in EXPECTED} | {"landisgyr-e450-broken"}
    assert all("# Source: " in text for text in files.values())


@pytest.mark.slow
@pytest.mark.parametrize("expected", EXPECTED, ids=str)
def test_a_frame_cut_at_any_byte_takes_no_good_one_with_it(expected: Expected) -> None:
    """The list that follows comes out with its last byte. (So does one that lacks its last flag only.)"""
    line = b"".join(frames(expected.frame))
    for end in range(len(line)):
        decoder = load_model(expected.profile).decoder(expected.secrets or Secrets())
        assert decoder.feed(line[:end]) == []
        came = [item for item in decoder.feed(line) if isinstance(item, Telegram)]
        assert came[-len(expected.telegrams) :] == list(expected.telegrams)


@pytest.mark.parametrize("expected", EXPECTED, ids=str)
def test_a_frame_comes_byte_by_byte(expected: Expected) -> None:
    decoder = load_model(expected.profile).decoder(expected.secrets or Secrets())
    line = b"\x7e\x68" + b"".join(frames(expected.frame))
    came = [item for at in range(len(line)) for item in decoder.feed(line[at : at + 1])]
    assert came == list(expected.telegrams)


def test_blocks_in_the_wrong_order_are_no_list() -> None:
    items = said("landisgyr-e450", "landisgyr-e450-broken")
    assert [str(item) for item in items if isinstance(item, MeterError)] == [
        "block 2 of a long message came instead of block 3",
        "block 4 of a long message came instead of block 1",
        "block 3 of a long message came instead of block 1",
    ]
    assert len(items) == 3


@pytest.mark.parametrize("frame", ["kaifa-ma309-noe", "kaifa-ma309-tyrol", "landisgyr-e570"])
def test_a_wrong_key_opens_nothing(frame: str) -> None:
    profile = "landisgyr-e450" if frame == "landisgyr-e570" else "kaifa-ma309"
    (error,) = said(profile, frame, Secrets(encryption_key=bytes(16)))
    assert isinstance(error, MeterError)
    assert "encryption key is wrong" in str(error)
