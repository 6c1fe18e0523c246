"""`image/bundle.sh` makes a bundle only of a release that its keys signed and approved."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gateway.cli.main import main

SCRIPT = Path(__file__).parents[2] / "image/bundle.sh"


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Path:
    """What image/build.sh makes without keys, as far as it matters here."""
    folder = tmp_path / "image"
    boot = folder / "boot"
    boot.mkdir(parents=True)
    (boot / "vmlinuz").write_bytes(b"kernel")
    (folder / "root.erofs").write_bytes(b"root")
    words = ["--version", "2026.11.2", "--epoch", "7", "--machine", "rpi4", "--boot", str(boot)]
    assert main(["release", "manifest", *words, "--root", str(folder / "root.erofs")]) == 0
    manifest = capfd.readouterr().out
    for path in folder, boot:
        (path / "release.json").write_text(manifest)
    for name in "ours", "theirs":
        assert main(["release", "new-keys", "--keys", str(tmp_path / name)]) == 0
    return folder


def pack(folder: Path) -> None:
    image = folder / "boot.vfat"
    image.write_bytes(bytes(1 << 20))
    run("mformat", "-i", str(image), "::")
    run("mcopy", "-i", str(image), *map(str, (folder / "boot").iterdir()), "::")


def bundle(folder: Path, keys: str) -> tuple[int, str]:
    words = ("--keys", str(folder.parent / keys), "--to", str(folder.parent / "feed"), str(folder))
    done = subprocess.run([SCRIPT, *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0 or not (folder.parent / "feed").exists()
    return done.returncode, done.stderr


def test_only_a_release_of_these_keys_is_bundled(folder: Path) -> None:
    pack(folder)
    code, said = bundle(folder, "ours")
    assert code == 5
    assert "was built without keys" in said
    for verb in "sign", "approve":
        keys = str(folder.parent / "theirs")
        assert main(["release", verb, "--keys", keys, str(folder / "boot/release.json")]) == 0
    pack(folder)
    code, said = bundle(folder, "ours")
    assert code == 5
    assert "was built with other keys" in said
    assert "was built" not in bundle(folder, "theirs")[1]
