"""`gateway provider read` from a real S3 server: what it keeps here, and that it need not trust it."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.chain.grant import Grant
from gateway.chain.layout import Layout
from gateway.cli.main import main
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.wire import names
from tests.stream.stream import START, Home, Provider, random_readings
from tests.support.servers import S3Server

HOURS = 24 * 40


@dataclass(frozen=True, slots=True)
class Engineer:
    """A provider at a command line; `home` is in the bucket at `location`."""

    home: Home
    grant: Grant
    provider: Provider
    location: Location
    cache: Path
    capsys: pytest.CaptureFixture[str]

    def put(self) -> None:
        """Make the bucket hold the home's objects, as they are now."""

        async def all_of_them() -> None:
            bucket = open_bucket(self.location)
            try:
                for key, data in self.home.objects.items():
                    await bucket.put(key, data, replace=True)
            finally:
                await bucket.aclose()

        asyncio.run(all_of_them())

    def read(self) -> tuple[int, str, str]:
        assert self.location.endpoint is not None
        words = ["provider", "read", "--csv", "--key", str(self.provider.folder), "--max-age", "1d"]
        words += ["--store", self.location.url, "--endpoint", self.location.endpoint]
        words += ["--stream", self.home.id.hex(), "--signer", self.home.signer.kid.hex()]
        code = main(words)
        return code, *self.capsys.readouterr()

    def kept(self) -> dict[str, Path]:
        """The files that are kept, by key."""
        files = [path for path in self.cache.rglob("*") if path.is_file()]
        return {"/".join(path.relative_to(self.cache).parts[3:]): path for path in files}


@pytest.fixture
def engineer(
    seaweedfs: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Engineer:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.secret_key)
    home = Home(("import",), layout=Layout(3_600_000, 24), start=START // 3600, chunk_units=24)
    home.seal(random_readings(HOURS, ("import",)))
    provider = Provider.new(tmp_path / "acme")
    grant = home.grant(provider.card, "1h")
    location = seaweedfs.location(secrets.token_hex(8))
    made = Engineer(home, grant, provider, location, tmp_path / "cache", capsys)
    home.publish()
    home.put_bundle(grant.id, 0, 24 * 31, "month")
    made.put()
    return made


def test_a_second_read_gives_the_same_from_what_was_kept(engineer: Engineer) -> None:
    first = engineer.read()
    assert first[0] == 0
    assert len(first[1].splitlines()) == 1 + HOURS
    kept = engineer.kept()
    month = names.page(engineer.home.id, "2026-03")
    assert month in kept
    assert names.grant(engineer.home.id, engineer.grant.id) in kept
    assert all(names.lasts(key) for key in kept)
    for key, path in kept.items():
        assert path.read_bytes() == engineer.home.objects[key]
    engineer.home.objects[month] = b"what nobody asks for any more"
    engineer.put()
    assert engineer.read() == first


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "moved", "deleted"])
def test_what_is_kept_needs_no_trust(engineer: Engineer, damage: str) -> None:
    first = engineer.read()
    kept = engineer.kept()
    for (key, path), other in zip(kept.items(), reversed(kept), strict=True):
        data = engineer.home.objects[key]
        if damage == "deleted":
            path.unlink()
        else:
            path.write_bytes(
                {
                    "cut": data[:-1],
                    "changed": data[:-1] + bytes([data[-1] ^ 1]),
                    "empty": b"",
                    "moved": engineer.home.objects[other],
                }[damage]
            )
    assert engineer.read() == first
    assert engineer.read() == first


def test_a_store_that_is_invalid_is_refused_and_once_it_is_well_again_not(engineer: Engineer) -> None:
    first = engineer.read()
    head = names.head(engineer.home.id)
    month = names.page(engineer.home.id, "2026-03")
    good = dict(engineer.home.objects)
    for path in engineer.kept().values():
        path.unlink()
    engineer.home.objects[month] = good[month][:-1] + bytes([good[month][-1] ^ 1])
    engineer.put()
    for _ in range(2):
        code, _, said = engineer.read()
        assert code == 5
        assert month in said
    engineer.home.objects[month] = good[month]
    engineer.put()
    assert engineer.read() == first
    engineer.home.objects[head] = good[month]
    engineer.put()
    code, _, said = engineer.read()
    assert (code, head in said) == (5, True)


def test_a_revocation_is_noticed(engineer: Engineer) -> None:
    engineer.read()
    engineer.home.revoke(engineer.grant)
    engineer.home.seal(random_readings(24, ("import",)))
    engineer.put()
    code, out, said = engineer.read()
    assert (code, len(out.splitlines())) == (0, 1 + HOURS)
    assert "when it was revoked" in said
