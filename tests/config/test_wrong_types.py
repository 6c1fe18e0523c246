"""Every field of a file that a person writes, with a value of a wrong type: a sentence, not an exception."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

import pytest

from gateway.config import Config, example
from gateway.errors import UsageError
from gateway.meters.profile import load_profile, parse_profile, profile_ids
from tests.support.fields import changed, places, toml

pytestmark = pytest.mark.slow

WRONG: tuple[object, ...] = (True, -5, 1.5, "", "x", [], [True], [[]], {}, {"x": 1}, [{}])
ONE_OF_EACH = {load_profile(name).protocol: name for name in profile_ids()} | {
    "lists": "iskraemeco-am550-si",
    "encrypted": "poland-stoen-p1",
}


def profile(name: str) -> dict[str, object]:
    file = resources.files("gateway.meters").joinpath("profiles", f"{name}.toml")
    return tomllib.loads(file.read_text("utf-8"))


@pytest.mark.parametrize("name", ONE_OF_EACH.values())
def test_a_profile(name: str) -> None:
    document = profile(name)
    assert parse_profile(toml(document), f"{name}.toml") == load_profile(name)
    refused = 0
    for place in list(places(document))[1:]:
        for other in WRONG:
            try:
                parse_profile(toml(changed(document, place, other)), f"{name}.toml")
            except UsageError as error:
                refused += 1
                sentence = str(error)
                if f"{name}.toml: " not in sentence or "Error" in sentence:
                    pytest.fail(f"{place} = {other!r}: {sentence}")
    assert refused > 8 * len(document)


def test_the_configuration(tmp_path: Path) -> None:
    document = tomllib.loads(example())
    path, refused = tmp_path / "gateway.toml", 0
    path.write_text(toml(document))
    Config.load(path)
    for place in list(places(document))[1:]:
        for other in WRONG:
            path.write_text(toml(changed(document, place, other)))
            try:
                Config.load(path)
            except UsageError as error:
                refused += 1
                if str(place[0]) not in str(error) or "Error" in str(error):
                    pytest.fail(f"{place} = {other!r}: {error}")
    assert refused > 50
