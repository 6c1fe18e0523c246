"""A fleet's folder: files, images and the register, made once and kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.errors import Refused, Unavailable, UsageError
from gateway.fleet import image as images
from gateway.fleet.folder import Folder
from gateway.fleet.homes import Home
from gateway.fleet.image import Image, partitions, read_file
from gateway.fleet.register import Card, Device, open_register
from tests.fleet.conftest import FIRST, RELEASE, SECTOR, SECTORS, write_image

HOME = Home(2, "muller", "gateway", '[first-boot]\nhostname = "gateway"\n')


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "fleet")


def content(folder: Folder, image: Image) -> bytes | None:
    return read_file(folder.image(HOME.name), image.config, "gateway.toml")


class TestFolder:
    def test_a_file_is_made_once_and_its_code_stays(self, folder: Folder) -> None:
        assert folder.setup_code(HOME.name) is None
        assert folder.make(HOME, None)
        code = folder.setup_code(HOME.name)
        assert code is not None
        assert folder.file(HOME.name).read_bytes() == HOME.file(code)
        assert folder.file(HOME.name).stat().st_mode & 0o777 == 0o600
        assert folder.file(HOME.name).parent.stat().st_mode & 0o777 == 0o700
        assert not folder.make(HOME, None)
        changed = Home(2, "muller", "cellar", '[first-boot]\nhostname = "cellar"\n')
        assert folder.make(changed, None)
        assert folder.file(HOME.name).read_bytes() == changed.file(code)

    @pytest.mark.parametrize(
        "text", ["", "[first-boot]\n", '[first-boot]\nsetup-code = "a"\n', "[", "first-boot = 1"]
    )
    def test_a_file_whose_code_is_gone_is_not_made_anew_silently(self, text: str, folder: Folder) -> None:
        folder.make(HOME, None)
        folder.file(HOME.name).write_text(text)
        with pytest.raises(UsageError, match="has no setup code any more"):
            folder.make(HOME, None)

    def test_an_image_has_the_homes_file_and_is_kept(self, folder: Folder, image: Path) -> None:
        before = image.read_bytes()
        source = Image.read(image)
        assert (source.release, source.config) == (RELEASE.name, FIRST * SECTOR)
        assert folder.make(HOME, source)
        assert content(folder, source) == folder.file(HOME.name).read_bytes()
        assert folder.image(HOME.name).stat().st_mode & 0o777 == 0o600
        stamp = folder.image(HOME.name).stat().st_mtime_ns
        assert not folder.make(HOME, source)
        assert folder.image(HOME.name).stat().st_mtime_ns == stamp
        assert image.read_bytes() == before

    def test_another_release_or_a_changed_home_makes_the_image_anew(
        self, folder: Folder, image: Path
    ) -> None:
        folder.make(HOME, Image.read(image))
        write_image(image, type(RELEASE)("gateway-2026.11.2", "2026.11.2", 7, "rpi4", "3" * 64, "2" * 64))
        newer = Image.read(image)
        assert folder.make(HOME, newer)
        assert not folder.make(HOME, newer)
        changed = Home(2, "muller", "cellar", '[first-boot]\nhostname = "cellar"\n')
        assert folder.make(changed, newer)
        assert b"cellar" in (content(folder, newer) or b"")
        assert folder.make(HOME, None)
        assert not folder.image(HOME.name).exists()  # rather than one with another file

    def test_an_interruption_leaves_no_half_an_image(
        self, folder: Folder, image: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = Image.read(image)
        with monkeypatch.context() as cut:

            def interrupted(*command: str) -> None:
                run(*command)
                if command[0] == "cp":
                    raise KeyboardInterrupt

            run = images._run
            cut.setattr(images, "_run", interrupted)
            with pytest.raises(KeyboardInterrupt):
                folder.make(HOME, source)
        assert not folder.image(HOME.name).exists()
        code = folder.setup_code(HOME.name)
        assert folder.make(HOME, source)
        assert folder.setup_code(HOME.name) == code
        assert sorted(path.name for path in folder.image(HOME.name).parent.iterdir()) == [
            "gateway.img",
            "gateway.toml",
        ]

    def test_a_full_disk_is_named_and_not_kept_full(
        self, folder: Folder, image: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = Image.read(image)
        run = images._run

        def full(*command: str) -> None:
            run(*command[:-1], "/dev/full" if command[0] == "cp" else command[-1])

        monkeypatch.setattr(images, "_run", full)
        with pytest.raises(Unavailable, match=r"cp failed: .*No space left on device; mend that, and run"):
            folder.make(HOME, source)
        assert [path.name for path in folder.image(HOME.name).parent.iterdir()] == ["gateway.toml"]

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for path in tmp_path / "file", tmp_path / "file/fleet":
            with pytest.raises(UsageError, match=r"the folder .* cannot be made: "):
                Folder(path).begin()


class TestImage:
    def test_partitions_by_name(self, image: Path) -> None:
        assert partitions(image) == {"CONFIG": FIRST * SECTOR, "boot-a": (FIRST + SECTORS) * SECTOR}

    def test_what_is_no_image(self, tmp_path: Path, image: Path) -> None:
        packed = tmp_path / "gateway.img.zst"
        packed.write_bytes(bytes(4096))
        with pytest.raises(UsageError, match=r"has no GPT\. Unpack it first\.$"):
            Image.read(packed)
        with pytest.raises(UsageError, match="No such file"):
            Image.read(tmp_path / "nothing")
        write_image(image, names=("CONFIG", "root"))
        with pytest.raises(UsageError, match="has the partitions CONFIG, root, and an image"):
            Image.read(image)
        write_image(image, release=None)
        with pytest.raises(UsageError, match=r"has no release\.json"):
            Image.read(image)

    def test_what_was_cut_off_or_damaged(self, image: Path) -> None:
        whole = image.read_bytes()
        for cut in (len(whole) - 1, SECTOR + 92):
            image.write_bytes(whole[:cut])
            with pytest.raises(UsageError, match="is cut off"):
                Image.read(image)
        image.write_bytes(whole[: SECTOR + 20])
        with pytest.raises(UsageError, match="has a damaged GPT"):
            Image.read(image)
        table = SECTOR + 72  # where the header says that its entries are
        image.write_bytes(whole[:table] + b"\xff" * 8 + whole[table + 8 :])
        with pytest.raises(UsageError, match="is cut off"):
            Image.read(image)

    def test_a_faulty_manifest(self, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(images, "read_file", lambda *_: b"{}")
        with pytest.raises(Refused, match=r"release\.json of "):
            Image.read(image)

    def test_without_mtools(self, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(Unavailable, match="apt-get install mtools"):
            Image.read(image)


class TestRegister:
    def test_what_was_made_and_flashed(self, tmp_path: Path) -> None:
        path = tmp_path / "register.sqlite"
        with open_register(path, new=True) as register:
            serial = register.make("muller", "gateway", None, 1000, "anna")
            other = register.make("cellar", "cellar", ("gateway-1", "ab" * 32), 2000, "anna")
            assert serial != other
            register.flashed("cellar", 3000, "ben")
            assert register.make("cellar", "cellar", ("gateway-2", "cd" * 32), 4000, "carl") == other
            register.flashed("cellar", 5000, "ben")
        with open_register(path) as register:
            cards = (Card("gateway-1", "ab" * 32, 3000, "ben"), Card("gateway-2", "cd" * 32, 5000, "ben"))
            assert register.devices() == [
                Device(other, "cellar", "cellar", "gateway-2", "cd" * 32, 4000, "carl", cards),
                Device(serial, "muller", "gateway", None, None, 1000, "anna", ()),
            ]
            with pytest.raises(UsageError, match="nothing was made for home nobody yet"):
                register.flashed("nobody", 1, "ben")

    def test_what_is_no_register(self, tmp_path: Path) -> None:
        path = tmp_path / "register.sqlite"
        with pytest.raises(UsageError, match="gateway fleet make begins one"), open_register(path):
            pass
        assert not path.exists()
        path.write_bytes(b"no database at all" * 100)
        with pytest.raises(UsageError, match="is not a register"), open_register(path):
            pass
        path.unlink()
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE other (a)")
        database.close()
        with (
            pytest.raises(UsageError, match="is not a register that this version"),
            open_register(path, new=True),
        ):
            pass
        with (
            pytest.raises(Unavailable, match="cannot be used"),
            open_register(tmp_path / "no/where", new=True),
        ):
            pass
