"""Whether the owner of a TPM says that a new process is the only way on; its jobs hang as a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import pytest
from tpm2_pytss import TPM2_RC

from gateway.errors import TrustError
from gateway.trust.tpm.codes import Fault, TpmFault
from gateway.trust.tpm.owner import _MOST_LOST, Owner


class Connection:
    def close(self, *, orderly: bool) -> None:
        pass


async def no_pause(seconds: float) -> None:
    pass


@pytest.fixture
def owner() -> Owner[Connection]:
    made = Owner("test", Connection, sleep=no_pause)
    made.patience = 0.01
    return made


def hangs(over: threading.Event) -> Callable[[Connection], bool]:
    return lambda _: over.wait(20)


def says(fault: Fault, code: int) -> Callable[[Connection], None]:
    def job(connection: Connection) -> None:
        raise TpmFault(fault, code)

    return job


async def test_it_hangs_once_thirty_threads_in_a_row_are_lost_and_any_answer_ends_that(
    owner: Owner[Connection],
) -> None:
    over = threading.Event()
    try:
        for answer in (says(Fault.LOCKOUT, 0x921), print):
            for lost in range(_MOST_LOST):
                assert not owner.hung, lost
                with pytest.raises(TrustError, match="has not answered for"):
                    await owner.run(hangs(over))
            assert owner.hung
            owner.patience = 20
            with suppress(TrustError):
                await owner.run(answer)
            assert not owner.hung
            owner.patience = 0.01
    finally:
        over.set()
        owner.patience = 20
        await owner.aclose()


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault.NOT_READY, TPM2_RC.NV_UNAVAILABLE), (Fault.BUSY, TPM2_RC.RETRY)]
)
async def test_a_tpm_that_says_that_it_is_not_ready_is_waited_for(
    owner: Owner[Connection], fault: Fault, code: int
) -> None:
    owner.patience = 20
    for _ in range(2 * _MOST_LOST):
        with pytest.raises(TrustError):
            await owner.run(says(fault, code))
        assert not owner.hung
        assert owner.fault is not None
    await owner.aclose()


async def test_a_job_far_beyond_the_limit_that_should_have_ended_it_hangs(
    owner: Owner[Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.patience = 20
    now = time.monotonic()
    ages: list[tuple[float, bool]] = []

    def asks(_: Connection) -> None:
        for age in (0.0, 39.0, 41.0):
            later = SimpleNamespace(monotonic=partial(float, now + age))
            monkeypatch.setattr("gateway.trust.tpm.owner.time", later)
            ages.append((age, owner.hung))
        monkeypatch.undo()

    await owner.run(asks)
    assert [hung for _, hung in ages] == [False, False, True]
    assert not owner.hung
    await owner.aclose()
