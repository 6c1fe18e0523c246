"""The registrar's catalogue as a provider goes through it."""

from __future__ import annotations

import pytest

from gateway.errors import Refused
from gateway.provider.membership import catalogue
from gateway.registry.documents import CataloguePage, CatalogueStream

IDS = [f"{number:032x}" for number in range(1, 8)]


class Client:
    """A registrar's client whose pages are given."""

    def __init__(self, *pages: tuple[list[str], str | None]) -> None:
        self.pages = list(pages)
        self.after: list[str | None] = []

    async def catalogue(self, **query: str) -> CataloguePage:
        self.after.append(query.get("after"))
        streams, after = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        return CataloguePage(streams=tuple(map(stream, streams)), after=after)


def stream(id_: str) -> CatalogueStream:
    return CatalogueStream(
        stream=id_, signer=id_, assurance="tpm", unit_ms=1000, lanes=(), region="", tariff_zone=""
    )


async def ids(client: Client) -> list[str]:
    return [one.stream async for one in catalogue(client)]  # type: ignore[arg-type]


async def test_pages_follow_each_other_to_the_end() -> None:
    client = Client((IDS[:3], IDS[2]), (IDS[3:], None))
    assert await ids(client) == IDS
    assert client.after == [None, IDS[2]]


@pytest.mark.parametrize(
    "pages",
    [
        [(IDS[:3], IDS[2])],
        [(IDS[:3], IDS[2]), (IDS[2:], None)],
        [([IDS[0], IDS[0]], None)],
        [([IDS[1], IDS[0]], None)],
    ],
)
async def test_a_catalogue_that_lists_a_stream_twice_or_for_ever_is_refused(
    pages: list[tuple[list[str], str | None]],
) -> None:
    with pytest.raises(Refused, match="cannot be trusted"):
        await ids(Client(*pages))


async def test_an_empty_page_is_the_end() -> None:
    assert await ids(Client(([], IDS[0]))) == []
