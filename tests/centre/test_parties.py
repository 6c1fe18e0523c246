"""What each party can tell of a home from all that it has, by the consent check's linear algebra.

What nobody is told is unknown: the readings d, the words W that seal them, and each party's keystream words
in the tokens. What a party has are equations of these, with values from the real objects and keys. It can
tell what is a combination of them without any W and any keystream word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from gateway.chain.consent.span import Rows, random_prime
from gateway.chain.keys import link_key
from gateway.chain.layout import Layout
from gateway.chain.seal import MASK, signed
from gateway.chain.seal import words as words_of
from gateway.provider.load import Member, Windows, pair, words
from gateway.registrar.summing import SummingService
from gateway.store.memory import MemoryBucket
from gateway.stream.reader import StreamReader
from gateway.wire.stream import Chunk
from tests.stream.stream import START, Home, Provider, random_readings

BEGIN, UNITS, SIZE, LINK = START // 60, 8, 2, 4
MINUTE_MS = 60_000
LANE = "import"
WINDOWS = Windows((LANE,), tuple(pairwise((BEGIN + at) * MINUTE_MS for at in range(0, UNITS + 1, SIZE))))

Name = tuple[object, ...]
"""An unknown: ("d", home, unit), ("W", home, incarnation, link, position), ("centre" or "service", home,
window)."""


@dataclass(frozen=True)
class Equation:
    """So much of each unknown is this value, modulo 2^64."""

    row: dict[Name, int]
    value: int


class Knowledge:
    """What follows from some equations."""

    def __init__(self, equations: Sequence[Equation]) -> None:
        self._equations = equations
        self._prime = random_prime()
        # Readings come last, so that what has nothing else is found behind all other pivots.
        unknowns = sorted({name for one in equations for name in one.row}, key=lambda name: name[0] == "d")
        self._numbers = {name: i for i, name in enumerate(unknowns)}
        self._rows = self._taken(one.row for one in equations)

    def _taken(self, rows: Iterable[dict[Name, int]]) -> Rows:
        found = Rows(self._prime)
        for i, row in enumerate(rows):
            found.add(i, {self._numbers[name]: value for name, value in row.items()})
        return found

    def told(self) -> int:
        """How many independent combinations are of readings alone."""
        others = (
            {name: value for name, value in one.row.items() if name[0] != "d"} for one in self._equations
        )
        return len(self._rows) - len(self._taken(others))

    def tells(self, target: Iterable[Name]) -> int | None:
        """The sum of readings, as a lane's integer, if it follows."""
        wanted = dict.fromkeys(target, 1)
        weights = self._rows.weights({self._numbers[name]: 1 for name in wanted})
        value, made = 0, dict[Name, int]()
        for i, weight in weights.items():
            weight = weight if weight < self._prime // 2 else weight - self._prime  # these are +1 or -1
            value += weight * self._equations[i].value
            for name, part in self._equations[i].row.items():
                made[name] = made.get(name, 0) + weight * part
        return signed(value) if {name: part for name, part in made.items() if part} == wanted else None


@dataclass
class Parties:
    """Three homes and what everybody has of them."""

    homes: list[Home]
    store: list[Equation]
    centre: list[Equation]
    service: list[Equation]
    answers: list[Equation]
    secrets: dict[Name, int]

    @classmethod
    async def of(cls, folder: Path) -> Parties:
        centre, service = (Provider.new(folder / name) for name in ("centre", "service"))
        SummingService.begin(service.folder)
        found = cls([], [], [], [], [], {})
        members = []
        for number in range(3):
            home = Home((LANE,), layout=Layout(MINUTE_MS, LINK), start=BEGIN, chunk_units=LINK)
            for count in (3, UNITS - 3):  # a window and a link have two incarnations
                home.seal(random_readings(count, (LANE,)))
                home.restart()
            grant = home.grant(centre.card, f"{SIZE}min", kind="load")
            home.grant(service.card, f"{SIZE}min", kind="load", partner=grant)
            found.homes.append(home)
            reader = await StreamReader.open(MemoryBucket(home.objects), home.id, home.signer.kid)
            await reader.refresh(home.end * MINUTE_MS, 2**62)
            members.append(Member(reader, grant.id))
            found._chunks(number, home)
            for name, party in (("centre", centre), ("service", service)):
                both = await pair(members[-1], party.identity, name)  # type: ignore[arg-type]
                own = await words(both, WINDOWS)
                for j, word in enumerate(own.own[:, 0].tolist()):
                    found.secrets[name, number, j] = word
                    getattr(found, name).append(Equation({(name, number, j): 1}, word))
            found._tokens(number, home, own.tokens[:, 0].tolist())
        answer = await SummingService.in_folder(service.folder, service.identity, 3).add(members, WINDOWS)
        for j, total in enumerate(answer.sums[:, 0].tolist()):
            found.answers.append(Equation({("service", number, j): 1 for number in range(3)}, total))
        return found

    def _chunks(self, number: int, home: Home) -> None:
        """The ciphertexts, which are public."""
        for at, value in enumerate(home.readings[LANE]):
            self.secrets["d", number, at] = value & MASK
        for key in home.chunks:
            chunk = Chunk.read(home.objects[key], home.signer.public, key)
            n, i = home.layout.link(chunk.first), chunk.incarnation
            w = words_of(link_key(home._k_inc(i), n, LANE), LINK).tolist()
            self.secrets |= {("W", number, i, n, p): word for p, word in enumerate(w)}
            for unit, c in enumerate(chunk.c(0).tolist(), chunk.first):
                p = home.layout.position(unit)
                row: dict[Name, int] = {
                    ("d", number, unit - BEGIN): 1,
                    ("W", number, i, n, p): 1,
                    ("W", number, i, n, p + 1): -1,
                }
                self.store.append(Equation(row, c))

    def _tokens(self, number: int, home: Home, tokens: Sequence[int]) -> None:
        """The tokens, which are public."""
        for j, token in enumerate(tokens):
            row: dict[Name, int] = {("centre", number, j): 1, ("service", number, j): 1}
            for run in home.runs:
                a, b = max(run.first, BEGIN + j * SIZE), min(run.end, BEGIN + (j + 1) * SIZE)
                for n, x, y in home.layout.split(a, b) if a < b else ():
                    for position, sign in ((x - n * LINK, 1), (y - n * LINK, -1)):
                        name = ("W", number, run.incarnation, n, position)
                        row[name] = row.get(name, 0) + sign
            self.store.append(Equation(row, token))


async def test_no_party_alone_can_tell_anything_of_a_home_and_two_can(tmp_path: Path) -> None:
    found = await Parties.of(tmp_path)
    for one in (*found.store, *found.centre, *found.service, *found.answers):  # they are the real ones
        assert sum(part * found.secrets[name] for name, part in one.row.items()) & MASK == one.value
    windows = [(number, SIZE * j) for number in range(3) for j in range(len(WINDOWS.times))]
    alone = {
        "the store": found.store,
        "the service": [*found.store, *found.service],
        "the centre": [*found.store, *found.centre],
    }
    for party, equations in alone.items():
        knowledge = Knowledge(equations)
        assert knowledge.told() == 0, party
        assert all(knowledge.tells(readings(*window)) is None for window in windows), party

    # With the service's answers the centre tells the loads, and no more.
    asked = Knowledge([*found.store, *found.centre, *found.answers])
    assert asked.told() == len(WINDOWS.times)
    assert all(asked.tells(readings(*window)) is None for window in windows)
    for j in range(4):
        everybody = [("d", number, at) for number in range(3) for at in (2 * j, 2 * j + 1)]
        truth = sum(sum(home.readings[LANE][2 * j : 2 * j + 2]) for home in found.homes)
        assert asked.tells(everybody) == truth
        assert all(asked.tells(everybody[:most]) is None for most in (1, 2, 3, 4, 5))

    # Both together tell each home's windows, and no unit within them.
    both = Knowledge([*found.store, *found.centre, *found.service])
    assert both.told() == len(windows)
    for number, first in windows:
        truth = sum(found.homes[number].readings[LANE][first : first + SIZE])
        assert both.tells(readings(number, first)) == truth
        assert both.tells(readings(number, first)[:1]) is None


def readings(number: int, first: int) -> list[Name]:
    """Those of a home's window."""
    return [("d", number, at) for at in range(first, first + SIZE)]
