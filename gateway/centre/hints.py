"""Hints that a stream has something new: they make a look at it come sooner, and nothing else.

Nothing that a hint says is believed. It may be lost, come twice, late or in any order, be garbled or forged:
what a look takes in was verified, and what no hint named is found by the next look at all homes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable

AT_ONCE = 2**16
"""Streams of one look; those beyond it wait for the next."""
MOST_BYTES = 2**14
"""Bytes of a message in which streams are looked for; a notification of one object has 1300."""
_GATHERED = 60
"""Looks that hints make come, at most, between two at all homes: fewer than the files of one date and region
that are merged (`ingest`), each look leaving one."""
_STREAM = re.compile(rb"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


class Hints:
    """The streams of the list that have something new, as was heard, each once."""

    def __init__(self) -> None:
        self._listed: frozenset[bytes] = frozenset()
        self._heard: dict[bytes, None] = {}
        self._any = asyncio.Event()

    def expect(self, streams: Iterable[bytes]) -> None:
        """From now on the list has these streams; what was heard before is forgotten."""
        self._listed = frozenset(streams)
        self._heard.clear()
        self._any.clear()

    def hear(self, said: bytes) -> None:
        """Take each stream of the list that `said` names: 32 hexadecimal digits, as in an object's key,
        whatever stands around them."""
        for match in _STREAM.finditer(said[:MOST_BYTES]):
            stream = bytes.fromhex(match[0].decode("ascii"))
            if stream in self._listed:
                self._heard[stream] = None
                self._any.set()

    async def looks(self, seconds: float) -> AsyncGenerator[list[bytes], None]:
        """The streams to look at, as they are heard, for so long: those of a sixtieth of that time together,
        and of as long as the look before them took."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        pause = seconds / _GATHERED
        while True:
            try:
                async with asyncio.timeout_at(end):
                    await self._any.wait()
                    await asyncio.sleep(pause)
            except TimeoutError:
                return
            streams = list(self._heard)[:AT_ONCE]
            for stream in streams:
                del self._heard[stream]
            if not self._heard:
                self._any.clear()
            began = loop.time()
            yield streams
            pause = max(seconds / _GATHERED, loop.time() - began)
