"""Forms of a page as a browser sends them: with the fields that the page has filled in."""

from __future__ import annotations

from html.parser import HTMLParser

from aiohttp import ClientResponse, FormData

from tests.support.pages import Browser

Values = list[tuple[str, str]]


class _Forms(HTMLParser):
    """The forms of a page: of each its action and its fields. Tags that are not in the page's own vocabulary
    would show up in `tags`."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[tuple[str, Values]] = []
        self.tags: set[str] = set()
        self._select = ""
        self._options: list[tuple[str, bool]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        name, value = given.get("name") or "", given.get("value") or ""
        match tag:
            case "form":
                self.forms.append((given.get("action") or "", []))
            case "input" if name and given.get("type") not in ("file", "submit"):
                if given.get("type") not in ("checkbox", "radio") or "checked" in given:
                    self.forms[-1][1].append((name, value))
            case "select":
                self._select, self._options = name, []
            case "option":
                self._options.append((value, "selected" in given))

    def handle_endtag(self, tag: str) -> None:
        if tag == "select" and self._options:
            chosen = [value for value, selected in self._options if selected] or [self._options[0][0]]
            self.forms[-1][1].append((self._select, chosen[0]))


def fields(html: str, action: str) -> Values:
    """The fields of the page's first form with this action, as they are filled in."""
    return next(values for where, values in _Forms(html).forms if where == action)


def tags(html: str) -> set[str]:
    """All tags of a page."""
    return _Forms(html).tags


async def send(
    browser: Browser,
    html: str,
    action: str,
    files: dict[str, bytes] | None = None,
    /,
    **typed: str | list[str],
) -> ClientResponse:
    """Send a form of this page with other values for some fields, and with files."""
    data = FormData()
    for name, value in fields(html, action):
        if name not in typed:
            data.add_field(name, value)
    for name, values in typed.items():
        for value in [values] if isinstance(values, str) else values:
            data.add_field(name, value)
    for name, content in (files or {}).items():
        data.add_field(name, content, filename=f"{name}.bin", content_type="application/octet-stream")
    answer = await browser.client.post(
        action,
        data=data,
        headers={"Origin": browser.origin, "Accept-Language": browser.language},
        allow_redirects=False,
    )
    return await browser.answered(answer)
