"""The registrar as the centre's commands ask it: its summing service, and its catalogue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from gateway.centre.query import Ask, Certified
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.homes import read_answer
from gateway.provider.identity import Identity
from gateway.provider.load import Answer, Windows
from gateway.provider.membership import Membership, catalogue, session
from gateway.registry.client import RegistrarClient
from gateway.registry.documents import LoadRequest


@asynccontextmanager
async def summing_service(membership: Membership, identity: Identity) -> AsyncIterator[tuple[Ask, Certified]]:
    """What asks the summing service, and what gives the streams with valid certificates; the registrar is
    logged in to when one of them is first used."""
    async with AsyncExitStack() as stack:
        opened: list[RegistrarClient] = []

        async def registrar() -> RegistrarClient:
            if not opened:
                now_ms = unix_ms(SystemClock("host"))
                opened.append(await stack.enter_async_context(session(membership, identity, now_ms)))
            return opened[0]

        async def ask(homes: str, wanted: Windows) -> Answer:
            asked = LoadRequest(homes=homes, lanes=wanted.lanes, times=wanted.times)
            answer = await (await registrar()).sum_load(asked)
            return read_answer(answer.sums, "the summing service's answer")

        async def certified() -> set[bytes]:
            streams = catalogue(await registrar())
            return {bytes.fromhex(one.stream) async for one in streams if one.certificate is not None}

        yield ask, certified
