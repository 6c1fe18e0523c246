"""The decoder of a meter that pushes: bytes to telegrams.

A copy of an earlier ciphered message is refused: each meter's invocation counter must be higher than any
before. A lower one is believed only in a message whose clock is later than any before, which a copy never
has: so a meter that lost its counter is still read. If its messages carry no clock, such a meter is believed
again once the gateway is restarted.
"""

from __future__ import annotations

from collections import OrderedDict

from gateway.errors import KeyFault, MeterError
from gateway.meters.dlms.application import block_transfer, cipher
from gateway.meters.dlms.application.apdu import parse_notification
from gateway.meters.dlms.push.links import Link, Readings
from gateway.meters.dlms.push.lists import ListForm
from gateway.meters.reading import Telegram

_SENDERS = 16


class Seen:
    """The highest invocation counter and the latest clock of each meter."""

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def pass_once(self, title: bytes, counter: int, meter_time: int | None) -> None:
        """Note a message that is otherwise valid; MeterError for a copy of an older one."""
        last, latest = self._last.get(title, (-1, 0))
        clock = meter_time or 0
        if counter <= last and clock <= latest:
            raise MeterError(
                "a pushed message has an invocation counter that was used before, and no later clock: it is a"
                " copy of an older one, or the meter was reset (then restart the gateway)"
            )
        self._last[title] = (max(counter, last), max(clock, latest))
        self._last.move_to_end(title)
        if len(self._last) > _SENDERS:
            self._last.popitem(last=False)


class PushDecoder:
    """Decodes the lists of `form` that arrive over `link`. With `keys`, only ciphered messages are believed,
    and with an authentication key among them only authenticated ones; without `keys`, only plain ones."""

    def __init__(self, link: Link, form: ListForm, keys: cipher.CipherKeys | None, seen: Seen) -> None:
        self._link = link
        self._form = form
        self._keys = keys
        self._seen = seen
        self._blocks = block_transfer.Reassembly()
        self._title: bytes | None = None

    def cut(self) -> None:
        """The next bytes come from another connection."""
        self._link.cut()
        self._blocks = block_transfer.Reassembly()

    def feed(self, data: bytes) -> list[Telegram | MeterError]:
        """The telegrams that `data` completes, and an error for each broken one, in order."""
        said: list[Telegram | MeterError] = []
        for readings in self._link.feed(data):
            if isinstance(readings, MeterError):
                said.append(readings)
                continue
            try:
                said += self._telegrams(readings)
            except MeterError as error:
                said.append(error)
        return said

    def _telegrams(self, readings: Readings) -> list[Telegram]:
        *earlier, last = readings
        for message in earlier:
            try:
                return self._read(message)
            except MeterError:
                continue
        return self._read(last)

    def _read(self, message: bytes) -> list[Telegram]:
        if message[:1] == bytes((block_transfer.GENERAL_BLOCK_TRANSFER,)):
            whole = self._blocks.feed(block_transfer.parse(message))
            if whole is None:
                return []
            message = whole
        if cipher.is_ciphered(message):
            return self._open(message)
        if self._keys is not None:
            raise KeyFault(
                "a message is not ciphered although the meter's keys are set: it is not believed, since"
                " anybody on the line could have sent it. If the meter does not encrypt, leave its keys out"
            )
        return self._form.telegrams(parse_notification(message), None)

    def _open(self, message: bytes) -> list[Telegram]:
        if self._keys is None:
            raise KeyFault("the meter ciphers what it pushes: its keys are needed")
        ciphered = cipher.parse(message)
        title = ciphered.title or self._title
        if title is None:
            raise MeterError("a ciphered message lacks its system title, and so did all before it")
        opened = cipher.open_body(self._keys, title, ciphered.body)
        authenticated = bool(opened.control & cipher.AUTHENTICATED)
        if not opened.control & cipher.ENCRYPTED or authenticated < (self._keys.authentication is not None):
            raise MeterError(
                f"the meter protects its messages only by security control {opened.control:#04x}: they must "
                "be encrypted and, with an authentication key set, authenticated too"
            )
        try:
            notification = parse_notification(opened.text)
        except MeterError as error:
            if authenticated:
                raise
            raise KeyFault(
                "the encryption key is wrong, or is not this meter's: what it deciphers is not DLMS "
                f"({error})"
            ) from None
        telegrams = self._form.telegrams(notification, title)
        clocks = [telegram.meter_time for telegram in telegrams if telegram.meter_time is not None]
        self._seen.pass_once(title, opened.counter, max(clocks, default=None))
        self._title = title
        return telegrams
