"""Work of several tasks is done in a row, and nothing is used whose signature is not valid."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from gateway.errors import NotFound, Refused
from gateway.provider.together import Together
from gateway.wire.cose import Unverified
from gateway.wire.stream import Head
from tests.stream.stream import Signer

SIGNER = Signer()
HEAD = Head(bytes(16), 1, bytes(32), 2, 3)


def read_head(later: list[Unverified], key: str, *, valid: bool = True) -> Head:
    """A head whose signature is still to be verified."""
    return Head.read(SIGNER.sign(HEAD, None if valid else "gw1/page"), SIGNER.public, key, later)


async def test_work_is_done_in_a_row_and_in_order() -> None:
    together, done = Together(), list[str]()

    async def task(name: str) -> None:
        def work() -> str:
            done.append(f"{name} work")
            return name

        done.append(f"{name} before")
        assert await together.run(work) == name
        done.append(f"{name} after")

    for _ in range(2):
        await asyncio.gather(*map(task, "abc"))
        assert done == [f"{name} {when}" for when in ("before", "work", "after") for name in "abc"]
        done.clear()


async def test_an_error_is_that_of_its_own_task() -> None:
    together = Together()

    def fail() -> None:
        raise KeyError("mine")

    found = await asyncio.gather(*(together.run(work) for work in (int, fail, str)), return_exceptions=True)
    assert found[0] == 0
    assert isinstance(found[1], KeyError)
    assert found[2] == ""


async def test_the_work_of_a_cancelled_task_is_left_out() -> None:
    together, done = Together(), list[int]()
    tasks = [asyncio.create_task(together.run(partial(done.append, n))) for n in range(3)]
    asyncio.get_running_loop().call_soon(tasks[1].cancel)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert done == [0, 2]
    assert tasks[1].cancelled()


async def test_a_block_ends_when_its_signatures_are_verified() -> None:
    together = Together()

    async def read(key: str, valid: bool) -> Head:
        async with together.verified() as later:
            return read_head(later, key, valid=valid)

    keys = ["one", "two", "three"]
    found = await asyncio.gather(*(read(key, key != "two") for key in keys), return_exceptions=True)
    assert found[::2] == [HEAD, HEAD]
    assert isinstance(found[1], Refused)
    assert "the signature of two does not fit" in str(found[1])


@pytest.mark.parametrize("valid", [True, False])
async def test_what_an_invalid_object_made_fail_is_that_objects_fault(valid: bool) -> None:
    async def read() -> None:
        async with Together().verified() as later:
            read_head(later, "the head", valid=valid)
            raise NotFound("what the head names")

    with pytest.raises(NotFound if valid else Refused) as caught:
        await read()
    assert ("the signature of the head" in str(caught.value)) != valid


async def test_other_errors_pass_through_a_block() -> None:
    async def read() -> None:
        async with Together().verified() as later:
            read_head(later, "the head", valid=False)
            raise KeyError

    with pytest.raises(KeyError):
        await read()
