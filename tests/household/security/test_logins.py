"""Logins: kept over restarts by the digest of their token alone, listed, ended."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Unavailable
from gateway.household.security.logins import IDLE_MS, Logins
from gateway.web.tokens import TOKEN_FORM, new_token
from tests.support.clock import FakeClock


def test_a_login_survives_a_restart_and_its_token_is_on_no_disk(tmp_path: Path) -> None:
    clock = FakeClock()
    token = Logins(tmp_path, clock).begin("Firefox", "192.168.1.7")
    assert TOKEN_FORM.fullmatch(token)
    again = Logins(tmp_path, clock)
    found = again.find(token)
    assert found is not None
    assert (found.browser, found.address) == ("Firefox", "192.168.1.7")
    assert token not in (tmp_path / "logins.json").read_text()
    assert (tmp_path / "logins.json").stat().st_mode & 0o077 == 0
    assert again.form_token(token) == Logins(tmp_path, clock).form_token(token)


def test_no_other_token_is_a_login(tmp_path: Path) -> None:
    logins = Logins(tmp_path, FakeClock())
    token = logins.begin("Firefox", "a")
    for other in ("", new_token(), token[:-1], token.swapcase()):
        assert logins.find(other) is None
    assert logins.form_token(token) != logins.form_token(new_token())


def test_a_login_ends_when_it_is_not_used(tmp_path: Path) -> None:
    clock = FakeClock()
    logins = Logins(tmp_path, clock)
    token = logins.begin("Firefox", "a")
    clock.pass_s(IDLE_MS / 1000 - 1)
    assert logins.find(token) is not None
    clock.pass_s(IDLE_MS / 1000 - 1)
    assert Logins(tmp_path, clock).find(token) is not None
    clock.pass_s(IDLE_MS / 1000)
    assert logins.find(token) is None
    assert logins.all() == []


def test_a_damaged_file_logs_everybody_out(tmp_path: Path) -> None:
    clock = FakeClock()
    token = Logins(tmp_path, clock).begin("Firefox", "a")
    kept = json.loads((tmp_path / "logins.json").read_bytes())
    (login,) = kept["logins"].values()
    for damage in (
        b"",
        b"{",
        b'{"key": 1, "logins": {"x": {}}}',
        b"[]",
        b"[" * 100_000,
        json.dumps({**kept, "logins": []}).encode(),
        json.dumps({**kept, "logins": {"x": {**login, "used_ms": "long ago"}}}).encode(),
        json.dumps({**kept, "key": ""}).encode(),  # under which anybody could make a form's token
    ):
        (tmp_path / "logins.json").write_bytes(damage)
        logins = Logins(tmp_path, clock)
        assert logins.find(token) is None
        assert logins.find(logins.begin("Firefox", "a")) is not None


def test_a_full_disk_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    logins = Logins(tmp_path, clock)
    monkeypatch.setattr("gateway.household.security.logins.write_durably", _full)
    token = logins.begin("Firefox", "a")
    clock.pass_s(7200)
    login = logins.find(token)
    assert login is not None
    with pytest.raises(Unavailable, match="cannot be written: No space left on device"):
        logins.end(login.id)
    assert logins.find(token) is None


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from(["begin", "end", "all", "restart"]), st.integers(0, 5)), max_size=25)
)
def test_logins_are_those_that_began_and_were_not_ended(
    tmp_path_factory: object, steps: list[tuple[str, int]]
) -> None:
    clock = FakeClock()
    folder = tmp_path_factory.mktemp("logins")  # type: ignore[attr-defined]
    logins, live = Logins(folder, clock), {}
    for step, which in steps:
        if step == "begin":
            token = logins.begin("Firefox", "a")
            found = logins.find(token)
            assert found is not None
            live[token] = found.id
        elif step == "end" and live:
            token = list(live)[which % len(live)]
            logins.end(live.pop(token))
        elif step == "all" and live:
            token = list(live)[which % len(live)]
            logins.end_all(logins.find(token))
            live = {token: live[token]}
        elif step == "restart":
            logins = Logins(folder, clock)
        assert {login.id for login in logins.all()} == set(live.values())
        assert all(logins.find(token) is not None for token in live)
