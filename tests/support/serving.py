"""The control socket of a home whose gateway runs part by part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.home import Home


@asynccontextmanager
async def serving(home: Home, path: Path) -> AsyncIterator[None]:
    """The home's gateway answers on the socket `path`."""
    task = asyncio.create_task(home.session._control.serve(path))
    try:
        async with asyncio.timeout(20):
            while not await connects(path):
                assert not task.done()
                await asyncio.sleep(0)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def connects(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
