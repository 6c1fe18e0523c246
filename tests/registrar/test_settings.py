"""`registrar.toml`: an example that is valid, and a sentence for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import UsageError
from gateway.registrar.identity import CARD_FILE, KEY_FILE, new_identity, open_identity
from gateway.registrar.settings import Settings, example
from tests.support.clock import FakeClock

LEAST = '[registrar]\nname = "Registrar"\n'


def load(folder: Path, text: str) -> Settings:
    path = folder / "registrar.toml"
    path.write_text(text, encoding="utf-8")
    return Settings.load(path)


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(UsageError) as refused:
        load(folder, text)
    assert refused.value.__suppress_context__
    return [line.removeprefix(f"{folder}/registrar.toml: ") for line in str(refused.value).splitlines()]


def test_the_example_is_valid_and_shows_the_defaults(tmp_path: Path) -> None:
    found = load(tmp_path, example())
    assert found == load(tmp_path, LEAST)
    lines = [
        line[2:] if line.startswith("# ") and ("=" in line or line.startswith("# [")) else line
        for line in example().splitlines()
    ]
    shown = load(tmp_path, "\n".join(lines[3:]))
    assert shown.registrar == found.registrar.model_copy(
        update={"ek_roots": Path("/etc/gateway-registrar/ek-roots")}
    )
    assert (shown.listen.host, shown.listen.port) == (found.listen.host, found.listen.port)
    assert shown.store is not None
    assert shown.store.credential_seconds == 43_200


def test_the_database_is_sqlite_in_the_state_folder(tmp_path: Path) -> None:
    found = load(tmp_path, LEAST + 'state = "here"\n')
    assert found.registrar.state == tmp_path / "here"
    assert found.database_url == f"sqlite+aiosqlite:///{tmp_path}/here/registrar.sqlite"
    assert found.database_password() is None


def test_secrets_come_from_files_of_their_own(tmp_path: Path) -> None:
    text = LEAST + '[database]\nurl = "mysql+asyncmy://me@localhost/x"\npassword = "db"\n'
    text += '[store]\nurl = "s3://homes"\nendpoint = "http://127.0.0.1:9"\ncredentials = "s3"\n'
    found = load(tmp_path, text)
    for name, content in (("db", "hunter2\n"), ("s3", "access_key_id=a\nsecret_access_key=b\n")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    assert found.database_password() == "hunter2"
    assert found.store is not None
    assert found.store.location().secret_key == "b"
    assert "credentials in [store]" in found.store.location().advice
    assert "hunter2" not in repr(found)
    (tmp_path / "db").chmod(0o644)
    with pytest.raises(UsageError, match="open to every user"):
        found.database_password()
    (tmp_path / "s3").write_text("access_key_id=hunter2\n")
    with pytest.raises(UsageError, match="must have two lines") as refused:
        found.store.location()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", '[registrar] is missing; give a table [registrar] with name = "...".'),
        ("[registrar]\n", "[registrar] name is missing; give a name of 1 to 80 characters."),
        (
            LEAST + "certificate_days = 0\n",
            "[registrar] certificate_days is invalid; it must be a whole number from 1 to 3650.",
        ),
        (
            LEAST + "software_roots = 1\n",
            "[registrar] software_roots is invalid; it must be true or false.",
        ),
        (
            LEAST + "secret = 'hunter2'\n",
            "[registrar] secret is unknown; known here are name, state, software_roots, ek_roots, "
            "certificate_days.",
        ),
        (
            LEAST + "[lisen]\n",
            "[lisen] is unknown; known here are registrar, listen, database, store, loads.",
        ),
        (
            LEAST + '[listen]\ncertificate = "x"\n',
            "[listen] needs both certificate and key, or neither.",
        ),
        (
            LEAST + '[listen]\nhost = "0.0.0.0"\n',
            "[listen] has no TLS certificate and key: passwords would cross the network in clear. Give both, "
            'or host = "127.0.0.1" behind a proxy that has them.',
        ),
        (
            LEAST + "[listen]\nport = 70000\n",
            "[listen] port is invalid; it must be a whole number from 0 to 65535.",
        ),
        (
            LEAST + '[database]\nurl = "postgresql://me:hunter2@x/y"\n',
            '[database] url is invalid; it must be "mysql+asyncmy://USER@HOST/NAME" for a MariaDB server, '
            "without a password.",
        ),
        (LEAST + '[store]\nurl = "s3://"\n', "[store] url is invalid: "),
        (
            LEAST + '[store]\nurl = "store"\n',
            '[store] url is invalid; it must be "s3://bucket", "s3://bucket/prefix", or a folder\'s whole'
            " path.",
        ),
        (
            LEAST + '[loads]\nkey = "service"\n',
            "[loads] needs [store]: the summing service reads the households' tokens there.",
        ),
        (
            LEAST + '[store]\nurl = "/store"\n[loads]\nkey = "service"\nkmin = 3\n',
            "[loads] kmin is unknown; known here are key, k_min.",
        ),
        (
            LEAST + '[store]\nurl = "s3://homes"\ncredential_hours = 24\n',
            "[store] credential_hours is invalid; it must be a number of hours, 0.25 to 12.",
        ),
        (
            LEAST + 'ek_roots = "~/roots"\n',
            "[registrar] ek_roots is invalid: write the whole path: ~ is a different folder for each user.",
        ),
        ("[registrar", "this is not valid TOML: "),
    ],
)
def test_each_mistake_gets_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (found,) = mistakes(tmp_path, text)
    assert found.startswith(sentence)
    assert "hunter2" not in found


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, LEAST + "x = 1\ny = 2\n[listen]\nport = -1\n")) == 3


def test_a_file_that_is_not_there_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`gateway registrar example` prints one"):
        Settings.load(tmp_path / "registrar.toml")
    (tmp_path / "registrar.toml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        Settings.load(tmp_path / "registrar.toml")


# The registrar's key.


def test_a_key_is_made_once(tmp_path: Path) -> None:
    clock = FakeClock()
    made = new_identity(tmp_path / "state", "Registrar", clock.now_ms)
    key, card = tmp_path / "state" / KEY_FILE, tmp_path / "state" / CARD_FILE
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes(), card.read_bytes()
    with pytest.raises(UsageError, match="is never overwritten"):
        new_identity(tmp_path / "state", "Another", clock.now_ms)
    assert (key.read_bytes(), card.read_bytes()) == before
    opened = open_identity(tmp_path / "state")
    assert (opened.card, opened.signed_card) == (made.card, made.signed_card)
    assert opened.card.role == "registrar"
    assert "PrivateKey" not in repr(opened)


def test_a_key_that_cannot_be_used_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gateway registrar init"):
        open_identity(tmp_path)
    new_identity(tmp_path, "Registrar", FakeClock().now_ms)
    new_identity(tmp_path / "other", "Registrar", FakeClock().now_ms)
    key, card = tmp_path / KEY_FILE, tmp_path / CARD_FILE
    good = key.read_bytes()
    key.chmod(0o644)
    with pytest.raises(UsageError, match="open to every user"):
        open_identity(tmp_path)
    key.chmod(0o600)
    key.write_bytes(b"no key")
    with pytest.raises(UsageError, match="is not a P-256 key in PEM"):
        open_identity(tmp_path)
    key.write_bytes((tmp_path / "other" / KEY_FILE).read_bytes())
    with pytest.raises(UsageError, match="restore key and card from one backup"):
        open_identity(tmp_path)
    key.write_bytes(good)
    card.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        open_identity(tmp_path)
    card.mkdir()
    key.unlink()
    with pytest.raises(UsageError, match="cannot be written to"):
        new_identity(tmp_path, "Registrar", FakeClock().now_ms)


def test_a_folder_that_cannot_be_made_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written to"):
        new_identity(tmp_path / "file", "Registrar", FakeClock().now_ms)
