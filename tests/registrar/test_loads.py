"""The summing service of a registrar: its memory is in the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.centre.load import load
from gateway.errors import NotGranted, Refused, UsageError
from gateway.provider.homes import Listed, read_answer, write_homes
from gateway.provider.load import Windows
from gateway.registrar.database import Database
from gateway.registrar.loads import LoadMemory, LoadService, mark_restored
from gateway.registrar.server import serving
from gateway.registrar.service import Registrar
from gateway.registrar.summing import Run, Summed, SummingService, _Record
from gateway.registry.client import RegistrarClient
from gateway.registry.documents import LoadRequest
from gateway.store.directory import DirectoryBucket
from tests.registrar.test_summing import FIRST, SECOND, Street, street
from tests.support.clock import FakeClock
from tests.support.registrar import Holder, open_new, register
from tests.support.registrar import settings as registrar_settings

__all__ = ["street"]

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


class Town:
    """A street whose gateways are registered, two of them by one household, at a registrar with a summing
    service; and the centre's client."""

    def __init__(self, registrar: Registrar, client: RegistrarClient, street: Street) -> None:
        self.registrar = registrar
        self.client = client
        self.street = street

    def listed(self, *numbers: int) -> str:
        homes, grants = self.street.homes, self.street.grants
        return write_homes(Listed(homes[i].id, homes[i].signer.kid, grants[i].id) for i in numbers)

    async def asks(self, homes: str, windows: Windows) -> str:
        asked = LoadRequest(homes=homes, lanes=windows.lanes, times=windows.times)
        return (await self.client.sum_load(asked)).sums


@asynccontextmanager
async def town(
    registrar: Registrar, street: Street, folder: Path, clock: FakeClock, asking: str = "centre"
) -> AsyncIterator[Town]:
    (folder / "store").mkdir()
    for home in street.homes:
        for key, data in home.objects.items():
            path = folder / "store" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    bucket = DirectoryBucket(folder / "store")
    service = LoadService(registrar.database, bucket, street.service.folder, 2, clock)
    one = replace(registrar, loads=service)
    for name, numbers in (("mueller", (0, 1)), ("schmidt", (2,))):
        password = await one.accounts.add(name, "household")
        for number in numbers:
            holder = Holder("gateway", clock.now_ms, key=street.homes[number].signer.key)
            await register(one, name, password, holder)
    party = {"centre": street.centre, "other": street.service}[asking]
    centre = Holder("provider", clock.now_ms, key=party.identity.signing_key)
    await register(one, asking, await one.accounts.add(asking, "provider"), centre)

    async def sign(item: object) -> bytes:
        return centre.sign(item)  # type: ignore[arg-type]

    async with serving(one) as url, RegistrarClient(url) as client:
        await client.login(centre.kid, one.identity.card, clock.now_ms, sign)
        yield Town(one, client, street)


@asynccontextmanager
async def opened_at(clock: FakeClock, folder: Path, url: str) -> AsyncIterator[Registrar]:
    async with open_new(registrar_settings(folder / "state", url), clock) as registrar:
        yield registrar


@pytest.fixture
def at_the_end() -> FakeClock:
    """The registrar's clock, as the street's homes have just sealed."""
    return FakeClock(FIRST.end_ms / 1000 + 120)


async def test_a_centre_asks_over_http_and_opens_the_load(
    street: Street, tmp_path: Path, at_the_end: FakeClock, database_url: str
) -> None:
    async with (
        opened_at(at_the_end, tmp_path, database_url) as registrar,
        town(registrar, street, tmp_path, at_the_end) as one,
    ):
        await LoadMemory(registrar.database).begin()
        sums = await one.asks(one.listed(0, 1, 2), FIRST.asked)
        async with street.set_of() as homes:
            found = await load(homes, street.centre.identity, read_answer(sums, "the answer"))
            assert found == street.truth(FIRST)
        assert await one.asks(one.listed(2, 1, 0), FIRST.asked) == sums
        with pytest.raises(NotGranted, match="another set of homes was summed"):
            await one.asks(one.listed(0, 2), FIRST.asked)
        with pytest.raises(NotGranted, match=r"homes of 2 households or more .* homes of 1"):
            await one.asks(one.listed(0, 1), SECOND.asked)  # two gateways of one household
        (serial,) = [
            found.serial for found in await registrar.cards.all() if found.kid == street.homes[2].signer.kid
        ]
        await registrar.cards.revoke(serial)
        with pytest.raises(NotGranted, match="has no valid certificate here"):
            await one.asks(one.listed(0, 2), SECOND.asked)
        bad = street.homes[1].id.hex()
        (tmp_path / f"store/v1/{bad}/stream.cose").write_bytes(b"bad")
        with pytest.raises(Refused, match=f"stream {bad}: ") as refused:
            await one.asks(one.listed(0, 1, 2), FIRST.asked)
        assert refused.value.homes.keys() == {bad}


async def test_a_load_is_summed_for_the_centre_that_it_was_granted_to(
    street: Street, tmp_path: Path, at_the_end: FakeClock, database_url: str
) -> None:
    async with (
        opened_at(at_the_end, tmp_path, database_url) as registrar,
        town(registrar, street, tmp_path, at_the_end, "other") as one,
    ):
        await LoadMemory(registrar.database).begin()
        with pytest.raises((NotGranted, Refused), match="another load monitoring centre's"):
            await one.asks(one.listed(0, 1, 2), FIRST.asked)
