"""The contract of a root of trust, of both kinds, and the folder in which it is kept."""

from __future__ import annotations

import hashlib
import hmac
import json
import stat
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from gateway.errors import GatewayError, TrustError
from gateway.trust.folder import FILE
from gateway.trust.opening import open_root
from gateway.trust.root import MAX_MESSAGE, Root
from gateway.wire import es256
from tests.support.tpm import swtpm

Kind = Literal["tpm", "software"]


class Home:
    """A folder, a TPM where the kind needs one, and the root in it; `reopen` closes the one before."""

    def __init__(self, kind: Kind, folder: Path, tcti: str) -> None:
        self.kind, self.folder, self.tcti = kind, folder, tcti
        self._root: Root | None = None

    async def reopen(self) -> Root:
        await self.aclose()
        self._root = await open_root(self.kind, self.folder, self.tcti)
        return self._root

    async def aclose(self) -> None:
        if self._root is not None:
            await self._root.aclose()


@pytest.fixture(params=["software", "tpm"])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    kind: Kind = request.param
    with ExitStack() as stack:
        tcti = stack.enter_context(swtpm(tmp_path / "tpm")).tcti if kind == "tpm" else "device:/dev/null"
        made = Home(kind, tmp_path / "state" / "trust", tcti)
        yield made
        await made.aclose()


async def test_a_root_opens_again_as_the_same(home: Home) -> None:
    root = await home.reopen()
    before = root.assurance, root.public_key, await root.hmac(b"label")
    root = await home.reopen()
    assert (root.assurance, root.public_key, await root.hmac(b"label")) == before
    assert root.assurance == home.kind


async def test_two_roots_differ(home: Home, tmp_path: Path) -> None:
    one = await home.reopen()
    other = await open_root("software", tmp_path / "other", "")
    assert one.public_key != other.public_key
    assert await one.hmac(b"label") != await other.hmac(b"label")


async def test_hmac_tells_messages_apart_and_takes_any_length_up_to_its_limit(home: Home) -> None:
    root = await home.reopen()
    messages = [b"", b"\0", b"a", b"b", bytes(MAX_MESSAGE - 1), bytes(MAX_MESSAGE)]
    answers = [await root.hmac(message) for message in messages]
    assert {len(answer) for answer in answers} == {32}
    assert len(set(answers)) == len(messages)
    with pytest.raises(GatewayError, match="1025 bytes is too long"):
        await root.hmac(bytes(MAX_MESSAGE + 1))


async def test_signatures_are_64_bytes_and_verify(home: Home) -> None:
    root = await home.reopen()
    key = load_der_public_key(root.public_key)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    for i in range(300):  # in two of them or so r or s begins with a zero byte, which must not be lost
        message = i.to_bytes(2, "big") * i
        signature = await root.sign(message)
        assert len(signature) == 64
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))


async def test_no_incarnation_comes_twice(home: Home) -> None:
    root = await home.reopen()
    drawn = [await root.draw_incarnation() for _ in range(3)]
    root = await home.reopen()
    drawn += [await root.draw_incarnation() for _ in range(3)]
    assert len(set(drawn)) == len(drawn)
    assert all(0 <= value < 1 << 64 for value in drawn)
    if home.kind == "tpm":
        assert drawn == sorted(drawn)


async def test_the_counter_is_read_without_a_step(home: Home) -> None:
    root = await home.reopen()
    if home.kind == "software":
        assert await root.incarnation_counter() is None
        return
    assert await root.incarnation_counter() == 0
    drawn = await root.draw_incarnation()
    assert [await root.incarnation_counter() for _ in range(2)] == [drawn, drawn]


async def test_random_bytes(home: Home) -> None:
    root = await home.reopen()
    assert [len(await root.random(n)) for n in (0, 1, 32, 33, 100)] == [0, 1, 32, 33, 100]
    assert await root.random(32) != await root.random(32)


async def test_a_closed_root_says_so(home: Home) -> None:
    root = await home.reopen()
    await root.aclose()
    await root.aclose()
    for call in (root.hmac(b""), root.sign(b""), root.draw_incarnation(), root.incarnation_counter()):
        with pytest.raises(TrustError, match="was closed"):
            await call
    with pytest.raises(TrustError, match="was closed"):
        await root.random(1)


async def test_only_the_owner_may_read_the_folder(home: Home) -> None:
    home.folder.mkdir(parents=True, mode=0o755)
    await home.reopen()
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert [(file.name, stat.S_IMODE(file.stat().st_mode)) for file in home.folder.iterdir()] == [
        (FILE, 0o600)
    ]


async def test_repr_shows_nothing(home: Home) -> None:
    root = await home.reopen()
    assert repr(root) in ("SoftwareRoot()", "TpmRoot()")


@pytest.mark.slow
async def test_software_never_stands_in_for_a_tpm_nor_the_reverse(home: Home) -> None:
    await home.reopen()
    kept = (home.folder / FILE).read_bytes()
    other: Kind = "software" if home.kind == "tpm" else "tpm"
    with (
        swtpm(home.folder.parent / "another-tpm") as tpm,
        pytest.raises(TrustError, match="neither can replace the other"),
    ):
        await open_root(other, home.folder, tpm.tcti)
    assert (home.folder / FILE).read_bytes() == kept


def cut(text: str) -> str:
    return text[: len(text) // 2]


def flipped(text: str) -> str:
    document: dict[str, Any] = json.loads(text)
    name = max(name for name in document if name not in ("kind", "version", "digest"))
    value = document[name]
    return json.dumps(document | {name: value[:-1] + format(int(value[-1], 16) ^ 1, "x")})


def from_the_future(text: str) -> str:
    return json.dumps(json.loads(text) | {"version": 2})


@pytest.mark.parametrize("damage", [cut, flipped, from_the_future, lambda _: "", lambda _: "[]"])
async def test_a_damaged_file_is_told_and_kept(home: Home, damage: Any) -> None:
    await home.reopen()
    path = home.folder / FILE
    spoiled = damage(path.read_text())
    path.write_text(spoiled)
    with pytest.raises(TrustError, match="is damaged: restore it from a backup"):
        await home.reopen()
    assert path.read_text() == spoiled


async def test_a_write_cut_short_leaves_nothing_that_counts(home: Home) -> None:
    home.folder.mkdir(parents=True)
    (home.folder / f"{FILE}.new").write_text('{"kind": "tp')
    root = await home.reopen()
    before = await root.hmac(b"label")
    assert await (await home.reopen()).hmac(b"label") == before


async def test_a_folder_that_cannot_be_one(home: Home) -> None:
    home.folder.parent.mkdir()
    home.folder.write_text("a file")
    with pytest.raises(TrustError, match="cannot be read"):
        await home.reopen()


async def test_software_hmac_is_hmac_sha256_of_the_root_in_the_file(tmp_path: Path) -> None:
    root = await open_root("software", tmp_path, "")
    kept = bytes.fromhex(json.loads((tmp_path / FILE).read_text())["root"])
    assert len(kept) == 32
    assert await root.hmac(b"label") == hmac.digest(kept, b"label", hashlib.sha256)


def test_a_signature_that_does_not_verify_goes_nowhere() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    r, s = decode_dss_signature(key.sign(b"message", ec.ECDSA(hashes.SHA256())))
    made = es256.signature(key.public_key(), b"message", r, s)
    assert made in {r.to_bytes(32, "big") + one.to_bytes(32, "big") for one in (s, es256.ORDER - s)}
    for wrong_r, wrong_s, message in ((r ^ 1, s, b"message"), (r, s ^ 1, b"message"), (r, s, b"massage")):
        with pytest.raises(TrustError, match="its own key does not verify"):
            es256.signature(key.public_key(), message, wrong_r, wrong_s)
