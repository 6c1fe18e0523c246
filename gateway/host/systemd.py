"""Notifications to systemd: READY, WATCHDOG, STOPPING (sd_notify(3))."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable


class Notifier:
    """Sends notifications to the service manager, if there is one."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")

    def notify(self, state: str) -> None:
        """Send a message, such as "READY=1". It does not matter if the manager does not listen."""
        if not self._address:
            return
        # A leading @ means the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            try:
                channel.sendto(state.encode(), address)
            except OSError:
                return

    @staticmethod
    def watchdog_seconds() -> float | None:
        """The interval at which to feed the watchdog, half its time-out; None without a watchdog."""
        micros = os.environ.get("WATCHDOG_USEC", "")
        return int(micros) / 2_000_000 if micros.isdigit() and int(micros) else None

    async def feed_watchdog(
        self,
        well: Callable[[], bool] = lambda: True,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Feed the watchdog from the event loop until cancelled, each time that all is `well`: a process
        whose loop hangs, or that stays unwell for the watchdog's time, is restarted."""
        seconds = self.watchdog_seconds()
        while seconds is not None:
            if well():
                self.notify("WATCHDOG=1")
            await sleep(seconds)
