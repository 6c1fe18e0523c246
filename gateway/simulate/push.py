"""A simulated meter with a HAN port or a customer interface, which pushes DLMS lists.

Each model sends its lists when the real one does, plain, or ciphered with the keys that it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from pathlib import Path

from gateway.errors import UsageError
from gateway.host.clock import Clock
from gateway.meters.dlms.application import block_transfer, cipher
from gateway.meters.dlms.application.apdu import DataNotification
from gateway.meters.dlms.cosem.data import Value
from gateway.meters.dlms.link import mbus
from gateway.meters.dlms.link.hdlc import Frame
from gateway.meters.dlms.link.hdlc_link import LLC_RESPONSE
from gateway.meters.dlms.push.model import DlmsPushModel
from gateway.meters.endpoint import Line, Tcp
from gateway.meters.profile import Profile
from gateway.meters.secrets import Secrets
from gateway.simulate.home import Home
from gateway.simulate.push_lists import PLANS, Plan, Shown, clock
from gateway.simulate.push_server import speak
from gateway.simulate.truth import LiveHome

TITLE = b"SIM\x00\x00\x00\x00\x01"
_HOUR_S = 3600
_BLOCK, _SEGMENT = 112, 128


class PushMeter:
    """A meter of `profile` that shows `home`. UsageError for a profile that does not push DLMS, and where it
    encrypts and `secrets` lack its key."""

    def __init__(
        self,
        home: Home,
        profile: Profile,
        wall: Clock,
        secrets: Secrets | None = None,
        truth: Path | None = None,
    ) -> None:
        self._model, self._plan = _planned(profile)
        self._keys = _keys(profile, self._model, secrets or Secrets())
        # At most two messages a second: so this is higher than any counter before, whenever it was last
        # started.
        self._counter = 2 * (wall.wall() // 1_000_000_000)
        self._home = home
        self._of_hour: tuple[int, tuple[int, int]] | None = None  # the hour's registers, until they are sent
        self._hour = home.second // _HOUR_S
        self._interval = home.second // self._plan.every_s
        self._short_interval = home.second // self._plan.short_s
        self.live = LiveHome(home, wall, self._show, truth)

    def telegram(self) -> bytes:
        """The list for the second that is shown, which is the first of its interval; otherwise empty."""
        plan, second = self._plan, self._home.second
        due, self._interval = second // plan.every_s != self._interval, second // plan.every_s
        short_due, self._short_interval = (
            second // plan.short_s != self._short_interval,
            second // plan.short_s,
        )
        if self._of_hour is not None and plan.hourly_s is not None and second % _HOUR_S >= plan.hourly_s:
            hour, registers = self._of_hour
            self._of_hour = None
            moment = second if plan.hourly_clock == "now" else hour * _HOUR_S
            return self._message(plan.layout(self._shown(registers, moment)), moment)
        if due:
            energies = self._registers() if plan.hourly_s is None else None
            return self._message(plan.layout(self._shown(energies, second)), second)
        if plan.short is not None and short_due:
            return self._message(plan.short(self._shown(None, second)), second)
        return b""

    def _show(self, home: Home) -> dict[str, int]:
        imported, exported = self._registers()
        hour = home.second // _HOUR_S
        if hour != self._hour:
            self._hour = hour
            self._of_hour = hour, (imported, exported)
        return {"import": imported, "export": exported, "power": home.power}

    def _registers(self) -> tuple[int, int]:
        step = self._plan.step_mwh
        return self._home.import_mwh // step * step, self._home.export_mwh // step * step

    def _shown(self, energies: tuple[int, int] | None, moment: int) -> Shown:
        power = self._home.power
        return Shown(max(power, 0), max(-power, 0), energies, self._clock(moment))

    def _clock(self, moment: int) -> bytes:
        return clock(moment, self._model.form.zone or UTC, told=self._plan.tells_deviation)

    def _message(self, body: Value, moment: int) -> bytes:
        apdu = DataNotification(0, self._clock(moment), body).encode()
        if self._keys is not None:
            self._counter += 1
            control = cipher.ENCRYPTED | (cipher.AUTHENTICATED if self._keys.authentication else 0)
            sealed = cipher.seal(self._keys, control, TITLE, self._counter, apdu)
            apdu = cipher.general_glo(TITLE, sealed)
        if self._model.transport == "m-bus":
            return b"".join(part.encode() for part in mbus.split(apdu))
        return b"".join(frame.encode() for frame in self._frames(apdu))

    def _frames(self, apdu: bytes) -> list[Frame]:
        destination, source, control = self._plan.hdlc
        if self._plan.cut == "blocks":
            blocks = [block.encode() for block in block_transfer.split(apdu, _BLOCK, window=63)]
            parts = [LLC_RESPONSE + blocks[0], *blocks[1:]]
            return [Frame(destination, source, control, part) for part in parts]
        whole = LLC_RESPONSE + apdu
        size = _SEGMENT if self._plan.cut == "segments" else len(whole)
        return [
            Frame(destination, source, control, whole[at : at + size], at + size < len(whole))
            for at in range(0, len(whole), size)
        ]


async def serve(
    home: Home,
    profile: Profile,
    endpoint: Tcp | Line,
    wall: Clock,
    secrets: Secrets | None = None,
    truth: Path | None = None,
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Push the lists of `home` until cancelled, as `push_server.speak` does. What the meter shows is appended
    to `truth`."""
    meter = PushMeter(home, profile, wall, secrets, truth)
    await speak(meter.live, meter.telegram, endpoint, listening)


def _planned(profile: Profile) -> tuple[DlmsPushModel, Plan]:
    if not isinstance(profile.model, DlmsPushModel) or profile.id not in PLANS:
        raise UsageError(
            f"{profile.id} is not one of the simulated meters that push DLMS: {', '.join(sorted(PLANS))}"
        )
    return profile.model, PLANS[profile.id]


def _keys(profile: Profile, model: DlmsPushModel, secrets: Secrets) -> cipher.CipherKeys | None:
    if secrets.encryption_key is not None:
        return cipher.CipherKeys(secrets.encryption_key, secrets.authentication_key)
    if model.encrypted:
        raise UsageError(f"{profile.id} encrypts: give it a file of keys with encryption_key")
    return None
