"""The scripts a person runs: their syntax, and what they say and end with when something is wrong."""

from __future__ import annotations

import base64
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "provisioning" / "lib.sh"
LIBRARIES = {LIBRARY, ROOT / "provisioning" / "board.sh"}
SCRIPTS = [
    *sorted((ROOT / "provisioning").glob("*.sh")),
    *sorted((ROOT / "image").glob("*.sh")),
    ROOT / ".ci" / "run",
]

each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
on_debian = pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="this is no Debian")


def run(*command: str | Path, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def shell(lines: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run lines as a script does that sourced lib.sh."""
    return run("bash", "-c", f"set -euo pipefail; steps=1; source {LIBRARY}; {lines}", cache=cache)


@each_script
def test_is_bash(script: Path, tmp_path: Path) -> None:
    result = run("bash", "-n", script, cache=tmp_path)
    assert result.stderr == ""


@each_script
def test_shellcheck_finds_nothing(script: Path, tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not here: apt-get install shellcheck")
    result = run("shellcheck", "--external-sources", script, cache=tmp_path)
    assert result.stdout == ""


@each_script
def test_can_be_run_unless_it_is_a_library(script: Path) -> None:
    assert bool(script.stat().st_mode & stat.S_IXUSR) == (script not in LIBRARIES)


@pytest.mark.parametrize(
    "name", ["provisioning/venv.sh", "provisioning/install.sh", "image/build.sh", "image/test.sh"]
)
def test_unknown_argument_is_named(name: str, tmp_path: Path) -> None:
    result = run(ROOT / name, "--frob", cache=tmp_path)
    assert result.returncode == 2
    assert "--frob" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "doctor"], '"doctor" is not an argument'),
        (["plan", "--json"], "--json belongs to doctor"),
        (["doctor", "--from", "x"], "belong to apply"),
        (["plan", "--from", "x"], "belong to apply"),
        (["doctor", "--purge"], "--purge belongs to uninstall, not to doctor"),
        (["apply", "--dry-run", "--uninstall"], "--uninstall belongs to uninstall, not to apply"),
        (["apply", "--from"], "--from takes a file after it"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = run(ROOT / "provisioning" / "install.sh", *arguments, cache=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr


class TestStep:
    def test_ends_at_the_first_command_that_fails(self, tmp_path: Path) -> None:
        result = shell(
            "work() { echo one; sh -c 'exit 7'; echo two; }; step Work '' work; echo three", tmp_path
        )
        assert result.returncode == 7
        assert "    one\n" in result.stderr
        assert "two" not in result.stderr
        assert "three" not in result.stdout
        assert f"{tmp_path}/gateway/log/" in result.stderr

    def test_says_whom_it_could_not_reach(self, tmp_path: Path) -> None:
        # Port 1 of the loopback: nobody listens.
        fetch = f"{sys.executable} -c 'import urllib.request as r; r.urlopen(\"http://127.0.0.1:1\")'"
        result = shell(f"step Fetch 'the moon' {fetch}", tmp_path)
        assert result.returncode == 4
        assert 'The step "Fetch" could not reach the moon' in result.stderr

    def test_shows_its_number_and_its_time(self, tmp_path: Path) -> None:
        result = shell("step Nothing '' true", tmp_path)
        assert result.stdout.startswith("[1/1] Nothing ... 0.")
        assert result.stdout.endswith(" s\n")

    def test_log_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        result = shell("step Nothing '' true", tmp_path / "file")
        assert result.returncode == 4
        assert "cannot be written" in result.stderr


@on_debian
class TestDebianPackages:
    def test_finds_the_missing_among_the_installed(self, tmp_path: Path) -> None:
        result = shell("find_missing dpkg gateway-no-such-package bash; echo ${missing[@]}", tmp_path)
        assert result.stdout == "gateway-no-such-package\n"

    def test_without_root_says_what_to_run(self, tmp_path: Path) -> None:
        no_root = "find_root() { return 1; }"
        result = shell(f"{no_root}; debian_packages 'Or not.' dpkg gateway-no-such-package", tmp_path)
        assert result.returncode == 4
        assert result.stderr.splitlines()[1:] == [
            "    sudo apt-get update && sudo apt-get install --no-install-recommends gateway-no-such-package",
            "Or not.",
        ]

    def test_nothing_missing_takes_no_root(self, tmp_path: Path) -> None:
        result = shell("find_root() { return 1; }; debian_packages '' dpkg bash", tmp_path)
        assert result.returncode == 0

    def test_refuses_32_bits(self, tmp_path: Path) -> None:
        result = shell("dpkg() { echo armhf; }; debian_packages '' dpkg", tmp_path)
        assert result.returncode == 4
        assert "armhf" in result.stderr

    @pytest.mark.parametrize(
        "what",
        [
            ["--dry-run"],
            ["--dry-run", "--p1"],
            ["--dry-run", "--no-page"],
            ["--dry-run", "--uninstall"],
            ["--dry-run", "--purge"],
            ["plan"],
            ["plan", "--p1"],
            ["plan", "--uninstall"],
            ["apply", "--dry-run"],
            ["uninstall", "--dry-run"],
            ["uninstall", "--purge", "--dry-run"],
        ],
    )
    def test_dry_run_changes_nothing(self, what: list[str], tmp_path: Path) -> None:
        places = [
            Path("/opt/gateway"),
            Path("/etc/gateway"),
            Path("/var/cache/gateway"),
            tmp_path / "gateway",
        ]
        before = [place.exists() for place in places]
        result = run(ROOT / "provisioning" / "install.sh", *what, cache=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        assert "[1/" in result.stdout
        assert bool(re.search(r"/opt/gateway/\S+-p1$", result.stdout, re.MULTILINE)) == ("--p1" in what)
        page = not {"--no-page", "--uninstall", "--purge", "uninstall"} & set(what)
        assert ("gateway-household that" in result.stdout) == page
        assert [place.exists() for place in places] == before


class TestEdited:
    """Whether install.sh takes the configuration for an example, and so does not start the service."""

    @staticmethod
    def edited(configuration: Path, opt: Path, cache: Path) -> bool:
        function = 'eval "$(sed -n "/^edited() {/,/^}/p" provisioning/install.sh)"'
        result = shell(f"{function}; opt={opt}; configuration={configuration}; edited", cache)
        assert (result.stdout, result.stderr) == ("", "")
        return result.returncode == 0

    def test_not_this_versions_example(self, tmp_path: Path) -> None:
        assert not self.edited(ROOT / "gateway" / "config" / "example.toml", tmp_path / "opt", tmp_path)

    @pytest.mark.parametrize("place", ["gateway/config/example.toml", "gateway/example.toml"])
    def test_not_an_earlier_versions_example(self, place: str, tmp_path: Path) -> None:
        site = tmp_path / "opt" / "0.1.0-0123456789ab" / "lib" / "python3.11" / "site-packages"
        example, configuration = site / place, tmp_path / "gateway.toml"
        example.parent.mkdir(parents=True)
        example.write_text("# an earlier example\n")
        configuration.write_text("# an earlier example\n")
        assert not self.edited(configuration, tmp_path / "opt", tmp_path)
        configuration.write_text("# an earlier example, and a meter\n")
        assert self.edited(configuration, tmp_path / "opt", tmp_path)


class TestCredential:
    """What install.sh says of the S3 server's keys."""

    @staticmethod
    def said(folder: Path, *, tpm: bool, kind: str | None = None, url: str = "s3://b") -> str:
        """With a TPM or without, with a credential that begins so, or none."""
        (folder / "gateway.toml").write_text(f'[store]\nurl = "{url}"\n')
        if tpm:
            (folder / "tpmrm0").touch()
        if kind is not None:
            (folder / "gateway.s3").write_bytes(base64.encodebytes(bytes.fromhex(kind) + bytes(99)))
        names = "credential_options|opened_by_a_copy|check_credential"
        functions = f'eval "$(sed -En "/^({names})\\(\\) \\{{/,/^\\}}/p" provisioning/install.sh)"'
        places = f"tpm={folder}/tpmrm0; credential={folder}/gateway.s3; configuration={folder}/gateway.toml"
        result = shell(f"{functions}; {places}; check_credential; echo end", folder / "cache")
        assert result.stderr == ""
        said, end = result.stdout[:-4], result.stdout[-4:]
        assert end == "end\n"
        return said

    def test_they_are_encrypted_for_the_tpm_too(self, tmp_path: Path) -> None:
        said = self.said(tmp_path, tpm=True)
        command = "systemd-creds encrypt --with-key=host+tpm2 --tpm2-pcrs=14 --name=s3 -"
        assert f"    sudo {command} {tmp_path}/gateway.s3\n" in said
        assert "copy" not in said

    def test_without_a_tpm_it_is_said_what_a_copied_card_opens(self, tmp_path: Path) -> None:
        said = self.said(tmp_path, tpm=False)
        assert "    sudo systemd-creds encrypt --with-key=host --name=s3 -" in said
        assert said.endswith("no TPM here, so a copy of this machine's disk or card opens these keys.\n")

    def test_nothing_is_said_where_no_keys_are_needed(self, tmp_path: Path) -> None:
        assert self.said(tmp_path, tpm=True, url="/srv/store") == ""

    @pytest.mark.parametrize("kind", ["5a1c6a86df9d4096b1d5a65e0862f19a", "058469daf6f54324800549da0f8ea2fb"])
    def test_keys_that_a_copied_card_opens_are_to_be_encrypted_anew(self, tmp_path: Path, kind: str) -> None:
        said = self.said(tmp_path, tpm=True, kind=kind)
        assert "encrypted without the TPM, so a copy of this disk opens them" in said
        lines = [line.strip() for line in said.splitlines() if line.startswith("    ")]
        if shutil.which("systemd-creds") is None:
            return
        # The command is one that a shell takes, and it loses nothing: here, without a TPM.
        anew = " ".join(lines).replace("sudo ", "").replace("--with-key=host+tpm2 --tpm2-pcrs=14", "$options")
        anew = anew.replace("systemctl try-restart gateway", "true")
        key = "host" if kind.startswith("5a") else "tpm2-absent"
        make = f"echo secret | systemd-creds encrypt --with-key={key} --name=s3 - {tmp_path}/gateway.s3"
        show = f"systemd-creds decrypt --name=s3 {tmp_path}/gateway.s3 -"
        made = shell(f"{make} 2>/dev/null", tmp_path)
        if made.returncode != 0:
            pytest.skip("systemd-creds cannot encrypt here")
        shown = shell(f"options='--with-key=host'; {{ {anew}; {show}; }} 2>/dev/null", tmp_path)
        assert shown.stdout == "secret\n"
        assert not (tmp_path / "gateway.s3.new").exists()

    @pytest.mark.parametrize(
        ("tpm", "kind"),
        [
            (True, "93a894094874449090caf2fc93cab553"),
            (False, "5a1c6a86df9d4096b1d5a65e0862f19a"),
        ],
    )
    def test_other_keys_are_left_alone(self, tmp_path: Path, tpm: bool, kind: str) -> None:
        assert self.said(tmp_path, tpm=tpm, kind=kind) == ""


def test_the_tests_are_installed_after_a_part(tmp_path: Path) -> None:
    """uv takes all extras, or some by name."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "stamp").write_text("made earlier\nprovider try\n")
    stand_ins = 'uv=echo; digest() { echo 0; }; step() { shift 2; "$@"; }'
    result = shell(f"cd {tmp_path}; {stand_ins}; virtual_environment test", tmp_path)
    words = result.stdout.split()
    assert {"--all-extras", "test", "try"} <= set(words)
    assert "--extra" not in words


class TestOfAllChecks:
    """test.sh in a project of its own, whose tools end as a test wants."""

    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        scripts = tmp_path / "provisioning"
        scripts.mkdir()
        shutil.copy(ROOT / "provisioning" / "test.sh", scripts)
        prepared = "".join(
            f"{name}() {{ :; }}\n"
            for name in ("debian_packages", "find_python", "get_uv", "virtual_environment")
        )
        (scripts / "lib.sh").write_text(LIBRARY.read_text() + prepared)
        self.tool(scripts / "minio.sh", 0)
        self.tool(scripts / "en16931.sh", 0)
        self.tool(tmp_path / "image" / "build.sh", 0)
        for name in ("ruff", "mypy", "pytest"):
            self.tool(tmp_path / ".venv" / "bin" / name, 0)
        return tmp_path

    @staticmethod
    def tool(path: Path, code: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho {path.name} "$@"\nexit {code}\n')
        path.chmod(0o755)

    @pytest.mark.parametrize(
        ("failing", "code", "ends"),
        [(None, 0, 0), ("mypy", 2, 1), ("ruff", 1, 1), ("pytest", 1, 1), ("pytest", 5, 5)],
    )
    def test_all_run_and_each_counts(self, project: Path, failing: str | None, code: int, ends: int) -> None:
        if failing:
            self.tool(project / ".venv" / "bin" / failing, code)
        result = run(project / "provisioning" / "test.sh", "-k", "one", cache=project / "cache")
        assert result.returncode == ends
        assert result.stdout.splitlines()[-1] == "pytest -k one"
        assert ("mypy" in result.stdout) == (failing == "mypy")

    @pytest.mark.parametrize(
        ("given", "pytest_is_given", "minio"),
        [
            (["--quick"], "-m not slow --durations=5 --durations-min=1", False),
            (["--quick", "tests/chain"], "-m not slow --durations=5 --durations-min=1 tests/chain", False),
            (["tests/chain", "-x"], "tests/chain -x", True),
        ],
    )
    def test_which_tests_run(
        self, project: Path, given: list[str], pytest_is_given: str, minio: bool
    ) -> None:
        for name in ("minio", "en16931"):
            (project / "provisioning" / f"{name}.sh").write_text(f"#!/bin/sh\ntouch {name}\n")
        result = run(project / "provisioning" / "test.sh", *given, cache=project / "cache")
        assert result.stdout.splitlines()[-1] == f"pytest {pytest_is_given}"
        assert (project / "minio").exists() == minio
        assert (project / "en16931").exists() == minio

    def test_all_tests_run_in_two_halves(self, project: Path) -> None:
        folders = ["chain", "daemon", "fuzz", "support", "wire"]
        for name in folders:
            (project / "tests" / name).mkdir(parents=True)
        (project / "tests" / "test_rooms.py").touch()
        result = run(project / "provisioning" / "test.sh", cache=project / "cache")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.splitlines()[-2:] == [
            "pytest tests/daemon/ tests/test_rooms.py",
            "pytest -p tests.floors tests/chain/ tests/fuzz/ tests/wire/",
        ]

    @pytest.mark.parametrize("fails", ["chain", "daemon"])
    def test_either_half_counts(self, project: Path, fails: str) -> None:
        for name in ("chain", "daemon"):
            (project / "tests" / name).mkdir(parents=True)
        pytest_stub = project / ".venv" / "bin" / "pytest"
        pytest_stub.write_text(f'#!/bin/sh\ncase "$*" in *{fails}*) exit 1 ;; esac\n')
        assert run(project / "provisioning" / "test.sh", cache=project / "cache").returncode == 1
