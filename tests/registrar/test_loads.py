"""The summing service of a registrar: its memory is in the database."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import NotGranted, UsageError
from gateway.registrar.database import Database
from gateway.registrar.loads import LoadMemory, mark_restored
from gateway.registrar.service import Registrar
from gateway.registrar.summing import Run, Summed, SummingService, _Record

HOMES = [bytes([number] * 16).hex() for number in range(5)]
HOUR_MS = 3_600_000
SETS = st.frozensets(st.sampled_from(HOMES), min_size=1, max_size=4)
CLAIMS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3), SETS), min_size=1, max_size=2),
        st.dictionaries(
            st.sampled_from(HOMES),
            st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9)), min_size=1, max_size=2),
            max_size=2,
        ),
    ),
    min_size=1,
    max_size=8,
)


def claim(
    times: list[tuple[int, int, frozenset[str]]], runs: dict[str, list[tuple[int, int]]]
) -> tuple[list[Summed], dict[str, list[Run]]]:
    summed = [Summed(a * HOUR_MS, (a + n) * HOUR_MS, homes) for a, n, homes in times]
    sealed = {home: [Run(i, at * HOUR_MS, at * HOUR_MS) for i, at in some] for home, some in runs.items()}
    return summed, sealed


@pytest.mark.slow
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(CLAIMS)
async def test_the_memory_refuses_what_the_one_in_a_file_refuses(
    tmp_path_factory: pytest.TempPathFactory,
    claims: list[tuple[list[tuple[int, int, frozenset[str]]], dict[str, list[tuple[int, int]]]]],
) -> None:
    folder = tmp_path_factory.mktemp("memory")
    SummingService.begin(folder)
    file = _Record(folder)
    database = await Database.open(f"sqlite+aiosqlite:///{folder / 'registrar.sqlite'}")
    try:
        memory = LoadMemory(database)
        await memory.begin()
        for times, runs in claims:
            summed, sealed = claim(times, runs)
            if any(a.homes & b.homes for a in summed for b in summed if a is not b):
                continue  # a request has one set
            outcomes = []
            for one in (file, memory):
                try:
                    await one.claim(summed, sealed)
                    outcomes.append("summed")
                except NotGranted as error:
                    outcomes.append("set" if "another set" in str(error) else "incarnation")
            assert outcomes[0] == outcomes[1]
    finally:
        await database.close()


async def test_without_a_memory_nothing_is_summed_and_it_is_begun_once(registrar: Registrar) -> None:
    memory = LoadMemory(registrar.database)
    summed, sealed = claim([(0, 1, frozenset(HOMES[:2]))], {})
    with pytest.raises(UsageError, match="has no memory yet"):
        await memory.claim(summed, sealed)
    await memory.begin()
    with pytest.raises(UsageError, match="begun once"):
        await memory.begin()
    await memory.claim(summed, sealed)
    with pytest.raises(NotGranted, match="another set of homes was summed"):
        await memory.claim(claim([(0, 2, frozenset(HOMES[1:3]))], {})[0], {})


async def test_a_restored_memory_sums_later_windows_and_what_it_remembers(registrar: Registrar) -> None:
    memory = LoadMemory(registrar.database)
    await memory.begin()
    pair = frozenset(HOMES[:2])
    await memory.claim(claim([(0, 4, pair)], {})[0], {})
    async with registrar.database.writing() as connection:
        await connection.run_sync(mark_restored, 10 * HOUR_MS)
    await memory.claim(claim([(1, 2, pair)], {})[0], {})  # was given away before
    for times in ([(3, 2, pair)], [(5, 1, pair)], [(9, 2, frozenset(HOMES[2:]))]):
        with pytest.raises(NotGranted, match="restored from a copy"):
            await memory.claim(claim(times, {})[0], {})
    await memory.claim(claim([(10, 1, frozenset(HOMES[2:]))], {})[0], {})


async def test_nothing_of_a_refused_claim_is_remembered(registrar: Registrar, tmp_path: Path) -> None:
    memory = LoadMemory(registrar.database)
    await memory.begin()
    await memory.claim(*claim([(0, 1, frozenset(HOMES[:2]))], {HOMES[0]: [(7, 1)]}))
    later = claim([(5, 1, frozenset(HOMES[2:4]))], {HOMES[0]: [(9, 0)]})  # a later incarnation, before
    with pytest.raises(NotGranted, match="sealed again"):
        await memory.claim(later[0], later[1] | {HOMES[0]: [Run(9, 0, 0), Run(7, 0, 0)]})
    await memory.claim(claim([(5, 1, frozenset(HOMES[3:]))], {})[0], {})  # the set was not taken
