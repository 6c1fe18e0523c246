from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.dlms.polled.counter import InvocationCounter


async def test_numbers_are_durable_before_they_are_taken(tmp_path: Path) -> None:
    """Whenever the power goes, the next start takes a number above all that were taken."""
    path = tmp_path / "counter"
    taken: list[int] = []
    for _ in range(3):
        counter = InvocationCounter(path)
        for _ in range(5000):
            await counter.reserve()
            taken.append(counter.take())
            assert json.loads(path.read_text())["next"] > taken[-1]
    assert taken == sorted(set(taken))
    assert path.stat().st_mode & 0o777 == 0o600


async def test_nothing_is_taken_that_is_not_reserved(tmp_path: Path) -> None:
    counter = InvocationCounter(tmp_path / "counter")
    with pytest.raises(RuntimeError):
        counter.take()
    await counter.reserve()
    first = counter.take()
    counter.skip_to(first + 100_000)
    with pytest.raises(RuntimeError):
        counter.take()
    await counter.reserve()
    assert counter.take() == first + 100_000
    counter.skip_to(3)  # never back
    assert counter.take() == first + 100_001


async def test_two_that_count_in_one_file_take_each_number_once(tmp_path: Path) -> None:
    counters = [InvocationCounter(tmp_path / "counter") for _ in range(2)]
    taken = []
    for turn in range(12_000):
        counter = counters[turn // 3000 % 2]
        await counter.reserve()
        taken.append(counter.take())
    assert len(set(taken)) == len(taken)
    # The meter has seen the other's numbers: the one that is behind goes above them.
    await counters[0].refresh()
    await counters[0].reserve()
    assert counters[0].take() > max(taken)


async def test_many_that_reserve_at_once_take_each_number_once(tmp_path: Path) -> None:
    counters = [InvocationCounter(tmp_path / "counter") for _ in range(8)]
    for _ in range(5):
        await asyncio.gather(*(counter.reserve() for counter in counters))
        taken = [counter.take() for counter in counters]
        assert len(set(taken)) == len(taken)
        for counter in counters:
            counter.skip_to(max(taken) + 10_000)


async def test_a_counter_at_its_end_is_refused(tmp_path: Path) -> None:
    counter = InvocationCounter(tmp_path / "counter")
    counter.skip_to((1 << 32) - 4096)
    await counter.reserve()
    assert counter.take() == (1 << 32) - 4096
    counter.skip_to((1 << 32) - 10)
    with pytest.raises(MeterError, match="new keys"):
        await counter.reserve()


@given(
    content=st.binary(max_size=40)
    | st.sampled_from([b"[]", b"{}", b'{"next": 0}', b'{"next": 4294967297}', b"1" * 5000])
)
async def test_a_damaged_file_is_not_begun_anew(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "counter"
    path.write_bytes(content)
    with pytest.raises(MeterError, match="invocation counter"):
        await InvocationCounter(path).reserve()


async def test_a_check_before_the_first_run_makes_the_folder(tmp_path: Path) -> None:
    counter = InvocationCounter(tmp_path / "state" / "counter")
    await counter.reserve()
    assert counter.take() == 1
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


async def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    counter = InvocationCounter(tmp_path / "file" / "counter")
    with pytest.raises(MeterError, match="cannot be written"):
        await counter.reserve()
    with pytest.raises(RuntimeError):
        counter.take()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_a_file_that_root_writes_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 12_345, 23_456)
    await InvocationCounter(tmp_path / "counter").reserve()
    owner = (tmp_path / "counter").stat()
    assert (owner.st_uid, owner.st_gid) == (12_345, 23_456)
