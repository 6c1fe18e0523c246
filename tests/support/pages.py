"""The pages of a home in a test: a gateway that answers what the test says, and a browser of a few lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import TypeVar

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

from gateway.control.client import ControlClient
from gateway.control.documents import GrantStatus, MeterStatus, ReadingStatus, Status, StoreStatus
from gateway.errors import GatewayError, NotFound
from tests.support.clock import START_S

T = TypeVar("T")
PASSWORD = "a short sentence"


def status(**changed: object) -> Status:
    """The status of a gateway where all is well, but for what is `changed`."""
    now_ms = START_S * 1000
    sound = Status(
        version="1",
        assurance="software",
        signer="00" * 32,
        incarnation=0,
        now_ms=now_ms,
        clock_trusted=True,
        store=StoreStatus(url="s3://store/meters", answered_ms=now_ms - 2000, error=None, waiting=0),
        meters=(meter("main"),),
    )
    return sound.model_copy(update=changed)


def meter(name: str, **changed: object) -> MeterStatus:
    """The status of a meter that is read and sealed, but for what is `changed`."""
    now_ms = START_S * 1000
    sound = MeterStatus(
        meter=name,
        read_ms=now_ms - 1000,
        meter_ahead_ms=None,
        error=None,
        held=None,
        sealing=True,
        stream="ab" * 16,
        start_ms=now_ms - 86_400_000,
        sealed_until_ms=now_ms - 1000,
        chunked_until_ms=now_ms - 900_000,
    )
    return sound.model_copy(update=changed)


def reading(name: str, **registers: int) -> ReadingStatus:
    """What a meter showed a second ago: energy in mWh, power in W, by lane."""
    return ReadingStatus(meter=name, wall_ns=(START_S - 1) * 10**9, age_ns=10**9, registers=registers or None)


@dataclass
class Answers(ControlClient):
    """A gateway that answers what it is told to; `error` in place of everything. `asked` counts questions."""

    now: Status = field(default_factory=status)
    shown: tuple[ReadingStatus, ...] = ()
    given: tuple[GrantStatus, ...] = ()
    tariffs: dict[str, bytes] = field(default_factory=dict)
    error: GatewayError | None = None
    asked: int = 0

    def __post_init__(self) -> None:
        super().__init__(Path("no-socket"))

    async def status(self) -> Status:
        return self._answer(self.now)

    async def readings(self) -> tuple[ReadingStatus, ...]:
        return self._answer(self.shown)

    async def grants(self) -> tuple[GrantStatus, ...]:
        return self._answer(self.given)

    async def tariff(self, digest: str) -> bytes:
        if digest not in self.tariffs:
            raise NotFound(f"no grant names the tariff {digest}")
        return self._answer(self.tariffs[digest])

    def _answer(self, answer: T) -> T:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return answer


class Browser:
    """Follows no redirect, keeps cookies, and fills a page's form in as a browser does."""

    def __init__(self, client: TestClient) -> None:  # type: ignore[type-arg]
        self.client = client
        self.origin = str(client.make_url("")).rstrip("/")
        self.language = "en"

    async def ask(self, path: str, **headers: str) -> ClientResponse:
        """The answer to a GET."""
        given = {"Accept-Language": self.language, **headers}
        return await self.client.get(path, allow_redirects=False, headers=given)

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text, tags and all."""
        answer = await self.ask(path)
        return answer.status, await answer.text()

    async def shown(self, path: str) -> str:
        """What a page shows, without tags, in one line."""
        code, text = await self.get(path)
        assert code == 200, text
        return words(text)

    async def post(self, path: str, *, origin: str | None = "", **fields: str) -> ClientResponse:
        """Post a form with these fields; its origin is this server unless one is given, or None. The answer
        is the page to which it leads where that is made for it, and the way to another page elsewhere."""
        headers = {"Accept-Language": self.language}
        if origin is not None:
            headers["Origin"] = origin or self.origin
        return await self.answered(
            await self.client.post(path, data=fields, headers=headers, allow_redirects=False)
        )

    async def answered(self, answer: ClientResponse) -> ClientResponse:
        """The page that was made as the answer to a form, where the answer leads to such a one."""
        if answer.status == 303 and answer.headers["Location"].startswith("/answers/"):
            return await self.ask(answer.headers["Location"])
        return answer

    async def form_of(self, path: str) -> str:
        """The hidden token of the page's forms."""
        found = re.search(r'name="form" value="(\w+)"', (await self.get(path))[1])
        assert found is not None
        return found[1]

    async def log_in(self, password: str = PASSWORD) -> ClientResponse:
        """Log in with the home's password."""
        return await self.post("/login", form=await self.form_of("/login"), password=password)


def words(html: str) -> str:
    """The text of a page, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html.partition("</head>")[2])).split())
