"""What the doctor and the daemon say of a root that is bound to releases, and of the store's credential."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.config import Config
from gateway.config import credential as credentials
from gateway.daemon.doctor import Diagnosis, examine
from gateway.daemon.service import Daemon
from gateway.errors import UntrustedRelease
from gateway.host.clock import SystemClock
from gateway.trust import gate as gates
from gateway.trust.folder import FILE
from gateway.trust.opening import open_root
from tests.support.released import Maker, extend
from tests.support.tpm import swtpm


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[swtpm]:
    with swtpm(tmp_path / "tpm") as running:
        yield running


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """The machine's image is this maker's."""
    made, key = Maker(tmp_path / "boot"), tmp_path / "approval.pub.pem"
    key.write_bytes(made.gate.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    monkeypatch.setattr(gates, "APPROVAL_KEY", key)
    monkeypatch.setattr(gates, "APPROVAL", made.gate.approval)
    return made


@contextmanager
def no_image() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "APPROVAL_KEY", Path("/nowhere"))
        yield


def config(folder: Path, root: str, tcti: str = "device:/dev/tpmrm0") -> Config:
    file = folder / "gateway.toml"
    file.write_text(
        f"""
        gateway = {{ state = "state", socket = "s" }}
        clock = {{ source = "host" }}
        trust = {{ root = "{root}", tcti = "{tcti}" }}
        store = {{ url = "{folder}" }}
        [[meter]]
        name = "main"
        profile = "eastron-sdm630"
        tcp = {{ host = "127.0.0.1", port = 1 }}
        """
    )
    return Config.load(file)


async def found(config: Config) -> dict[str, Diagnosis]:
    return {one.part: one async for one in examine(config)}


async def provision(config: Config) -> None:
    await (await open_root("tpm", config.gateway.trust, config.trust.tcti)).aclose()


async def test_on_a_plain_system_there_is_no_gate(tpm: swtpm, tmp_path: Path) -> None:
    plain = config(tmp_path, "tpm", tpm.tcti)
    for _ in range(2):
        gate_of = (await found(plain))["release gate"]
        assert gate_of.ok
        assert "this system is not an image: the root opens for any software" in gate_of.sentence
        await provision(plain)


async def test_whether_the_root_opens_for_the_release_that_runs(
    tpm: swtpm, maker: Maker, tmp_path: Path
) -> None:
    image = config(tmp_path, "tpm", tpm.tcti)
    maker.boot(tpm, "one", 5)
    first = (await found(image))["release gate"]
    assert first.ok
    assert "the first run makes a root that opens for approved releases only" in first.sentence
    await provision(image)
    maker.boot(tpm, "two", 6)
    opens = (await found(image))["release gate"]
    assert opens.ok
    assert opens.sentence.endswith("for this one, of epoch 6, and for none older than epoch 5")

    extend(tpm.tcti, bytes(32))
    parts = await found(image)
    closed = parts["release gate"]
    assert (parts["TPM"].ok, closed.ok, closed.sealing) == (True, False, False)
    assert "PCR 14 shows other software" in closed.sentence
    maker.gate.approval.unlink()
    closed = (await found(image))["release gate"]
    assert (closed.sealing, "has no approval" in closed.sentence) == (False, True)
    with no_image():
        closed = (await found(image))["release gate"]
    assert (closed.sealing, "has no approval key" in closed.sentence) == (False, True)
    (image.gateway.trust / FILE).write_text("{}")
    closed = (await found(image))["release gate"]
    assert (closed.ok, closed.sealing, "is damaged" in closed.sentence) == (False, True, True)
    gates.APPROVAL_KEY.write_text("")
    closed = (await found(image))["release gate"]
    assert (closed.ok, "is not a P-256 public key in PEM" in closed.sentence) == (False, True)


async def test_a_root_that_was_made_without_is_said_so(tpm: swtpm, tmp_path: Path, maker: Maker) -> None:
    image = config(tmp_path, "tpm", tpm.tcti)
    with no_image():
        await provision(image)
    without = (await found(image))["release gate"]
    assert (without.ok, "none, as the root was made without" in without.sentence) == (True, True)


async def test_a_refused_release_runs_nothing_and_makes_nothing(
    tpm: swtpm, maker: Maker, tmp_path: Path
) -> None:
    image = config(tmp_path, "tpm", tpm.tcti)
    maker.boot(tpm, "one")
    await provision(image)
    extend(tpm.tcti, bytes(32))
    with pytest.raises(UntrustedRelease, match="PCR 14 shows other software"):
        await Daemon(image, SystemClock("host")).run()
    assert [path.name for path in image.gateway.state.iterdir()] == ["trust"]


def sealed(kind: str) -> bytes:
    return base64.encodebytes(bytes.fromhex(kind) + bytes(200))


HOST = "5a1c6a86df9d4096b1d5a65e0862f19a"
BOTH = "93a894094874449090caf2fc93cab553"


@pytest.mark.parametrize(
    ("content", "root", "ok", "said"),
    [
        (sealed(HOST), "tpm", False, "systemd-creds encrypt --with-key=host+tpm2 --tpm2-pcrs=14 --name=s3 -"),
        (sealed(HOST), "software", True, "there is no TPM to keep it from that"),
        (sealed("058469daf6f54324800549da0f8ea2fb"), "tpm", False, "a copy of this disk opens"),
        (sealed(BOTH), "tpm", None, ""),
        (b"", "tpm", None, ""),
        (b"no base64: \xff", "tpm", None, ""),
    ],
)
async def test_a_credential_that_a_copied_disk_opens_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, root: str, ok: bool | None, said: str
) -> None:
    monkeypatch.setattr(credentials, "_ENCRYPTED", tmp_path)
    (tmp_path / "gateway.s3").write_bytes(content)
    diagnosis = (await found(config(tmp_path, root, "swtpm:path=/nowhere"))).get("credential")
    assert (None if diagnosis is None else diagnosis.ok) == ok
    if diagnosis is not None:
        assert str(tmp_path / "gateway.s3") in diagnosis.sentence
        assert said in diagnosis.sentence
        assert diagnosis.sealing


async def test_on_an_image_the_credential_is_not_bound_to_the_release(
    tmp_path: Path, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next release has another PCR 14."""
    monkeypatch.setattr(credentials, "_ENCRYPTED", tmp_path)
    (tmp_path / "gateway.s3").write_bytes(sealed(HOST))
    told = (await found(config(tmp_path, "tpm", "swtpm:path=/nowhere")))["credential"]
    assert "--with-key=host+tpm2 --tpm2-pcrs= --name=s3 -" in told.sentence


@pytest.mark.parametrize(("pcrs", "bound"), [("14", True), ("7,14", True), ("7", False)])
async def test_on_an_image_a_credential_of_one_release_is_told(
    tmp_path: Path, maker: Maker, monkeypatch: pytest.MonkeyPatch, pcrs: str, bound: bool
) -> None:
    """As systemd-creds makes it, where it is there."""
    monkeypatch.setattr(credentials, "_ENCRYPTED", tmp_path)
    (tmp_path / "gateway.s3").write_bytes(encrypted(tmp_path, "--with-key=host+tpm2", f"--tpm2-pcrs={pcrs}"))
    image = config(tmp_path, "tpm", "swtpm:path=/nowhere")
    told = (await found(image)).get("credential")
    assert (told is not None) == bound
    if told is not None:
        assert "is bound to PCR 14, and no other release can open it" in told.sentence
        assert "--with-key=host+tpm2 --tpm2-pcrs= --name=s3 -" in told.sentence
    with no_image():
        assert "credential" not in await found(image)


def encrypted(folder: Path, *options: str) -> bytes:
    with swtpm(folder / "tpm") as tpm:
        command = ["systemd-creds", f"--tpm2-device={tpm.tcti}", "encrypt", *options, "--name=s3", "-", "-"]
        try:
            return subprocess.run(command, input=b"secret", check=True, capture_output=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"systemd-creds cannot encrypt here: {error}")


@pytest.mark.parametrize(
    ("options", "kind"),
    [(["--with-key=host"], HOST), (["--with-key=host+tpm2", "--tpm2-pcrs=14"], BOTH)],
)
def test_the_kinds_are_systemds(tmp_path: Path, options: list[str], kind: str) -> None:
    assert base64.b64decode(encrypted(tmp_path, *options))[:16].hex() == kind
