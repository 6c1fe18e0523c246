"""A supply and a limit that the household's daemon sets, by a message on the household's own broker.

The gateway has no network, so it says what is due and waits until that is acknowledged. A message is
retained by the broker: the last one counts, and it may be published again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.config import MeterSection
from gateway.config.switch import LimitTopic, SwitchTopic
from gateway.config.wiring import Controls
from gateway.control.commands import Act
from gateway.errors import MeterError


class Unpublished(MeterError):
    """A message is due and was not acknowledged yet."""


class Published:
    """A topic on the household's broker, and what is due to be published there, if anything is. `last` is
    what was acknowledged last in this run."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self.last: str | None = None
        self.due: Act | None = None

    def publish(self, payload: str) -> None:
        """Have `payload` published, unless it was the last. Unpublished until that is acknowledged."""
        if payload == self.last:
            self.due = None
            return
        self.due = Act(topic=self._topic, payload=payload)
        raise Unpublished(f"gateway household has yet to publish {payload!r} on {self._topic}")

    def acknowledge(self, act: Act) -> None:
        """The broker has `act`; nothing happens where another is due by now."""
        if act == self.due:
            self.due, self.last = None, act.payload


class PublishedSupply(Published):
    """See `gateway.meters.switch.Supply`."""

    def __init__(self, section: SwitchTopic) -> None:
        super().__init__(section.topic)
        self._section = section

    async def bring(self, connected: bool) -> None:
        self.publish(self._section.on if connected else self._section.off)
        self.last = None  # nobody reads back whether it stays so, and the next command is published anyway


class PublishedLimit(Published):
    """See `gateway.meters.switch.Limit`."""

    def __init__(self, section: LimitTopic) -> None:
        super().__init__(section.topic)
        self._section = section

    async def bring(self, watts: int | None) -> None:
        self.publish(self._section.off if watts is None else str(watts))


def with_topics(sections: Sequence[MeterSection], controls: Mapping[str, Controls]) -> dict[str, Controls]:
    """What each meter can switch, by name: what it switches itself, and what is published for it."""
    found = dict(controls)
    for section in sections:
        if section.switch is not None and section.switch.mqtt is not None:
            found[section.name] = replace(found[section.name], supply=PublishedSupply(section.switch.mqtt))
        if section.limit is not None and section.limit.mqtt is not None:
            found[section.name] = replace(found[section.name], limit=PublishedLimit(section.limit.mqtt))
    return found
