"""What systemd wants to hear from a service: READY, WATCHDOG, STATUS, STOPPING (sd_notify(3))."""

from __future__ import annotations

import os
import socket


class Notifier:
    """Tells the service manager, if there is one; says nothing otherwise."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")

    def notify(self, state: str) -> None:
        """One message, such as "READY=1". A manager that does not listen is no fault of ours."""
        if not self._address:
            return
        # A leading @ stands for the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            try:
                channel.sendto(state.encode(), address)
            except OSError:
                return

    @staticmethod
    def watchdog_seconds() -> float | None:
        """How often the watchdog wants to be fed: half its time-out. None without a watchdog."""
        micros = os.environ.get("WATCHDOG_USEC", "")
        return int(micros) / 2_000_000 if micros.isdigit() and int(micros) else None
