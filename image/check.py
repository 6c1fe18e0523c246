"""What image/test.sh does once the image is built: boot it as an owner would, and measure it.

The image and the programs in it are those that are shipped. Outside of the machine are a simulated meter at
the other end of its serial line, an S3 server (SeaweedFS) and a provider; its TPM is swtpm, on a disk of its
own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from image.vm import Broken, Card, Machine, powered  # noqa: E402
from tests.support.servers import BUCKET, S3Server, seaweedfs  # noqa: E402

GATEWAY = Path(sys.executable).with_name("gateway")
CARD_BYTES = 8 << 30
BOOT_S = 900
"""A boot in QEMU without KVM takes about a minute on a machine with nothing else to do."""
TRIAL_S = 120
"""About how long a trial takes so, from power-on to its verdict."""
SETUP_CODE = "abcde-fghjk"

CONFIGURATION = """\
[clock]
source = "host"   # the test's network has no time server
{stream}
[store]
url = "s3://{bucket}"
endpoint = "{endpoint}"
region = "us-east-1"
[[meter]]
name = "main"
profile = "sml-generic"
serial = {{ device = "/dev/ttyUSB0" }}

[first-boot]
hostname = "gateway"
setup-code = "{setup_code}"
ssh-key = "{ssh_key}"
s3 = {{ access-key-id = "{access}", secret-access-key = "{secret}" }}
"""


SOON = """\
[stream]
unit_ms = 1000
link_units = 10   # short, so that the first readings are soon in the store
chunk_units = 10"""
AS_IS = """\
[stream]
link_units = 900   # begins within a quarter of an hour, not an hour; all else is as it is by default"""
WRITES_S = 900
"""How long the bytes that go to the card are counted: one chunk, and its commits."""


def say(text: str) -> None:
    print(text, flush=True)


class Home:
    """A card that was flashed and configured, a board to put it in, and the world around it."""

    def __init__(
        self, image: Path, tpm: Path, folder: Path, server: S3Server, meter: int, board: str = "virt"
    ) -> None:
        """`meter` is the TCP port of its meter, which goes on whatever happens to the machine."""
        self.folder, self.server, self._meter, self._board = folder, server, meter, board
        self._image, self._tpm = image, tpm
        self._key = folder / "ssh"
        folder.mkdir(parents=True, exist_ok=True)
        self._key.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._key], check=True)

    def flash(self, name: str, stream: str = SOON) -> Card:
        """A new card, with the owner's file on it, with this table [stream]."""
        card = Card(self.folder / f"{name}.img")
        subprocess.run(["cp", "--sparse=always", self._image, card.path], check=True)
        with card.path.open("r+b") as file:
            file.truncate(CARD_BYTES)
        text = CONFIGURATION.format(
            bucket=BUCKET,
            stream=stream,
            endpoint=self.server.endpoint.replace("127.0.0.1", "10.0.2.2"),
            setup_code=SETUP_CODE,
            ssh_key=self._key.with_suffix(".pub").read_text().strip(),
            access=self.server.access_key,
            secret=self.server.secret_key,
        )
        card.write(1, "gateway.toml", text.encode())
        return card

    def machine(self, card: Card, name: str) -> Machine:
        """A board with this card, and with a TPM of its own."""
        tpm = self.folder / f"{name}.tpm.ext4"
        if not tpm.exists():
            subprocess.run(["cp", "--sparse=always", self._tpm, tpm], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        return Machine(card, self.folder / name, self._board, tpm=tpm, forwards={port: 22})

    def ssh(self, machine: Machine, command: str, *, data: bytes = b"", check: bool = True) -> str:
        """What a command prints that runs in the machine, as root."""
        [port] = machine.forwards
        done = subprocess.run(
            [
                *("ssh", "-i", self._key, "-p", str(port), "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"),
                *(
                    "-o",
                    "StrictHostKeyChecking=no",
                    "-o",
                    "UserKnownHostsFile=/dev/null",
                    "-o",
                    "LogLevel=ERROR",
                ),
                *("root@127.0.0.1", command),
            ],
            input=data,
            capture_output=True,
            check=False,
        )
        if check and done.returncode:
            raise Broken(
                f"`{command}` ended with {done.returncode}: {(done.stdout + done.stderr).decode()[-800:]}"
            )
        return done.stdout.decode()

    def objects(self) -> int:
        """How many objects with readings the store has."""
        from boto3.session import Session  # noqa: PLC0415

        client = Session().client(
            "s3",
            endpoint_url=self.server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.server.access_key,
            aws_secret_access_key=self.server.secret_key,
        )
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return sum("chunk" in item["Key"] for page in pages for item in page.get("Contents", ()))

    @contextmanager
    def on(self, machine: Machine, *, meter: bool = True) -> Iterator[Machine]:
        """The machine, on, with the meter at its serial line."""
        with powered(machine):
            if not meter:
                yield machine
                return
            over = Event()
            Thread(target=_wire, args=(self._meter, machine.meter(), over), daemon=True).start()
            try:
                yield machine
            finally:
                over.set()

    def until(
        self, what: str, machine: Machine, condition: Callable[[], object], seconds: float = BOOT_S
    ) -> float:
        """Wait for it; the seconds that it took."""
        began = time.monotonic()
        while not condition():
            if machine.process is None or machine.process.poll() is not None:
                raise Broken(f"The machine ended before it did this: {what}.")
            if time.monotonic() - began > seconds:
                end = machine.said()[-1500:].decode(errors="replace")
                raise Broken(f"Not within {seconds:.0f} s: {what}. The console's end:\n{end}")
            time.sleep(0.5)
        return time.monotonic() - began


@contextmanager
def simulated_meter() -> Iterator[int]:
    """The TCP port on which a meter sends its list each second, to whoever listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [GATEWAY, "simulate", "sml", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def _wire(port: int, device: str, over: Event) -> None:
    """Carry what the meter sends to a serial line, until it is over or the machine is gone."""
    line = os.open(device, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        tty.setraw(line)
        with socket.create_connection(("127.0.0.1", port)) as meter:
            while not over.is_set():
                data = meter.recv(4096)
                with suppress(BlockingIOError):  # nobody listens
                    os.write(line, data)
    except OSError:
        pass
    finally:
        os.close(line)


def first_readings(home: Home, machine: Machine) -> float:
    """Seconds from now until readings of this boot are in the store."""
    before = home.objects()
    return home.until("readings in the store", machine, lambda: home.objects() > before)


def provider_opens(home: Home, machine: Machine) -> int:
    """Grant a provider what the machine seals; how many windows it then opens."""
    provider = home.folder / "provider"
    shutil.rmtree(provider, ignore_errors=True)
    subprocess.run(
        [GATEWAY, "provider", "new", provider, "--name", "Utility"], check=True, stdout=subprocess.DEVNULL
    )
    card = provider / "card.cose"
    shown = subprocess.run([GATEWAY, "card", "show", card, "--json"], check=True, capture_output=True).stdout
    home.ssh(machine, "cat > /run/card.cose", data=card.read_bytes())
    home.ssh(
        machine,
        f"gateway grant new --to /run/card.cose --fingerprint {json.loads(shown)['fingerprint']} "
        "--granularity 10s --purpose 'a test' --json",
    )
    status = json.loads(home.ssh(machine, "gateway status --json", check=False))
    stream = ["--stream", status["meters"][0]["stream"], "--signer", status["signer"]]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home.folder),
        "AWS_ACCESS_KEY_ID": home.server.access_key,
        "AWS_SECRET_ACCESS_KEY": home.server.secret_key,
    }
    opened: list[Any] = []

    def opens() -> bool:
        done = subprocess.run(
            [
                *(
                    GATEWAY,
                    "provider",
                    "read",
                    "--key",
                    provider,
                    "--store",
                    f"s3://{BUCKET}",
                    *stream,
                    "--json",
                ),
                *("--endpoint", home.server.endpoint, "--region", "us-east-1", "--granularity", "10s"),
            ],
            env=environment,
            capture_output=True,
            check=False,
        )
        opened[:] = json.loads(done.stdout)["rows"] if done.stdout else []
        return bool(opened)

    home.until("a provider that opens what was sealed", machine, opens)
    return len(opened)


def memory(home: Home, machine: Machine) -> dict[str, int]:
    """MB of memory: of all processes together (their shared pages once each), and of the gateway's."""
    script = (
        "for p in /proc/[0-9]*; do"
        " awk -v c=$(tr -c a-z _ <$p/comm) '/^Pss:/ {print c, $2}' $p/smaps_rollup; done 2>/dev/null; true"
    )
    found = [line.split() for line in home.ssh(machine, script).splitlines()]
    ours = sum(int(size) for name, size in found if name.startswith("gateway"))
    return {"all_mb": sum(int(size) for _, size in found) // 1024, "gateway_mb": ours // 1024}


def boot(home: Home, name: str, figures: dict[str, Any]) -> tuple[Card, Machine]:
    """First boot as an owner does it, until a provider opens what was sealed."""
    card = home.flash(name)
    machine = home.machine(card, name)
    with home.on(machine):
        figures["power_on_to_readings_s"] = round(first_readings(home, machine))
        say(f"From power-on to sealed readings in the store: {figures['power_on_to_readings_s']} s.")
        figures["windows_opened"] = provider_opens(home, machine)
        say(f"A provider opens {figures['windows_opened']} windows of what the image sealed.")
        if SETUP_CODE in (wiped := card.read(1, "gateway.toml").decode()) or home.server.secret_key in wiped:
            raise Broken("The owner's file was not wiped of its secrets.")
        figures["boot"] = home.ssh(machine, "systemd-analyze time").strip().splitlines()[0]
        figures["memory"] = memory(home, machine)
        failed = home.ssh(machine, "systemctl list-units --failed --no-legend --plain")
        if failed:
            raise Broken(f"Units failed: {failed}")
        home.ssh(machine, "systemctl poweroff", check=False)
        machine.ended(120)
    return card, machine


def second_boot(home: Home, machine: Machine, figures: dict[str, Any]) -> None:
    with home.on(machine):
        figures["second_boot_to_readings_s"] = round(first_readings(home, machine))
        say(f"At the second boot: {figures['second_boot_to_readings_s']} s.")


def writes(home: Home, figures: dict[str, Any]) -> None:
    """How much goes to the card by default: a reading a second, commits every five, a chunk in 15 minutes."""
    machine = home.machine(home.flash("writes", AS_IS), "writes")

    def begun() -> bool:
        said = home.ssh(machine, "gateway status --json", check=False)
        return bool(said) and json.loads(said)["meters"][0]["stream"] is not None

    with home.on(machine):
        home.until("a stream that begins", machine, begun, BOOT_S + WRITES_S)
        written, began = machine.written(), time.monotonic()
        time.sleep(WRITES_S)
        rate = (machine.written() - written) / (time.monotonic() - began)
    figures["written_mb_a_day"] = round(rate * 86400 / 1e6)
    say(f"In normal use {figures['written_mb_a_day']} MB a day go to the card.")


def copied_card(home: Home, card: Card) -> None:
    """The card, copied and put into another board, opens nothing."""
    copy = Card(home.folder / "copy.img")
    subprocess.run(["cp", "--sparse=always", card.path, copy.path], check=True)
    machine = home.machine(copy, "thief")
    with home.on(machine):
        before = home.objects()
        home.until("SSH", machine, lambda: home.ssh(machine, "echo on", check=False) == "on\n")
        home.until(
            "a boot that is over",
            machine,
            lambda: (
                home.ssh(machine, "systemctl is-system-running", check=False) in ("running\n", "degraded\n")
            ),
        )
        opened = home.ssh(
            machine,
            "systemd-creds decrypt --name=s3 /etc/credstore.encrypted/gateway.s3 - >/dev/null && echo opened",
            check=False,
        )
        ended = home.ssh(machine, "systemctl show --value -p Result -p ExecMainStatus gateway").split()
        if "opened" in opened or home.objects() > before:
            raise Broken("A copied card opened a secret.")
    say(f"The card in another board opens nothing: gateway.service ends with {', '.join(ended)}.")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address, as the machine sees it, of a feed."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://10.0.2.2:{server.server_port}/"
        finally:
            server.shutdown()


def status_of(home: Home, machine: Machine) -> dict[str, Any]:
    """`gateway update status --json`; empty while the machine does not answer."""
    said = home.ssh(machine, "gateway update status --json", check=False)
    return json.loads(said) if said else {}


def decided(status: dict[str, Any]) -> bool:
    """Whether the trial is over: until then the outcome is that of a check that is cut off."""
    return bool(status.get("last")) and not status.get("trying")


def install(home: Home, machine: Machine, feed: Path) -> None:
    """Install the feed's release, which the machine then restarts into by itself."""
    first_readings(home, machine)
    with served(feed) as address:
        home.ssh(machine, f"gateway update install --feed {address} --reboot")
        if machine.ended(BOOT_S) != "reboot" or not machine.tryboot:
            raise Broken("The machine did not restart into the new slot.")


def update(home: Home, machine: Machine, feed: Path, figures: dict[str, Any]) -> None:
    """A release that does its work is kept, with the state and the ledger."""
    name = json.loads((feed / "latest.json").read_text())["name"]
    with home.on(machine):
        began = time.monotonic()
        before = machine.slot
        install(home, machine, feed)
        figures["update_s"] = round(time.monotonic() - began)
    with home.on(machine):
        if machine.slot == before:
            raise Broken("The trial did not run from the other slot.")
        first_readings(home, machine)
        home.until("a verdict on the trial", machine, lambda: decided(status_of(home, machine)))
        if not (last := status_of(home, machine)["last"])["kept"]:
            raise Broken(f"{name} was not kept: {last['sentence']}")
        home.ssh(machine, "systemctl poweroff", check=False)
        machine.ended(120)
    with home.on(machine):
        if machine.slot == before:
            raise Broken("The next boot went back to the old slot.")
        first_readings(home, machine)
        if status_of(home, machine)["running"]["name"] != name:
            raise Broken(f"It is not {name} that runs.")
        home.ssh(machine, "systemctl poweroff", check=False)
        machine.ended(120)
    say(f"{name} was installed, tried, kept and booted again; it goes on with the state that was there.")


def way_back(home: Home, machine: Machine, feed: Path) -> None:
    """A release under which no reading is sealed, as the meter is gone, is left within ten minutes."""
    name = json.loads((feed / "latest.json").read_text())["name"]
    with home.on(machine):
        before = machine.slot
        install(home, machine, feed)
    with home.on(machine, meter=False):
        if machine.ended(BOOT_S + 600) != "reboot" or machine.tryboot:
            raise Broken(f"The machine did not leave {name}, which sealed nothing.")
    with home.on(machine):
        first_readings(home, machine)
        last = status_of(home, machine)["last"]
        if machine.slot != before or last["kept"]:
            raise Broken("The machine did not go back to the slot that it came from.")
        home.ssh(machine, "systemctl poweroff", check=False)
        machine.ended(120)
    say(f"{name}, which seals nothing without a meter, was left: {last['sentence']}.")


def cuts_in_update(home: Home, feed: Path, count: int, longest: float) -> None:
    """Cut the power at random moments of updates, in turn in an installation and in a trial: the release that
    runs then seals readings. `longest` is how many seconds an installation takes."""
    moments = random.Random(15)  # noqa: S311 - the same moments each time
    for number in range(1, count + 1):
        if number % 2:  # on a card of its own: what has been installed once is not installed again
            name = f"update-{number}"
            machine = home.machine(home.flash(name), name)
            after = cut_installation(home, machine, feed, moments.uniform(1, longest))
            say(f"Cut {number} of {count}, {after:.0f} s after an installation began.")
        else:
            after = cut_trial(home, machine, feed, moments.uniform(1, TRIAL_S))
            say(f"Cut {number} of {count}, {after:.0f} s after a trial's power-on.")
        with home.on(machine):
            first_readings(home, machine)
            say(f"The image seals readings, from slot {machine.slot}.")


def cut_installation(home: Home, machine: Machine, feed: Path, after: float) -> float:
    """Switch the power off in the midst of an installation, at most `after` seconds after it began; when that
    was."""
    with home.on(machine), served(feed) as address:
        first_readings(home, machine)
        began = time.monotonic()
        home.ssh(machine, f"systemd-run --quiet gateway update install --feed {address} --reboot")
        while time.monotonic() - began < after and machine.process and machine.process.poll() is None:
            time.sleep(0.1)
    return time.monotonic() - began


def cut_trial(home: Home, machine: Machine, feed: Path, after: float) -> float:
    """Switch the power off in the midst of a release's trial, `after` seconds after its power-on; when that
    was."""
    with home.on(machine):
        install(home, machine, feed)
    with home.on(machine):
        time.sleep(after)
    return after


def cuts(home: Home, count: int, longest: float) -> None:
    """Cut the power at random moments of the first boot; in the end it must be done all the same."""
    moments = random.Random(14)  # noqa: S311 - the same moments each time
    card = home.flash("cut")
    machine = home.machine(card, "cut")
    for number in range(1, count + 1):
        after = moments.uniform(1, longest)
        with home.on(machine):
            time.sleep(after)
        say(f"Cut {number} of {count}, {after:.1f} s after power-on.")
    with home.on(machine):
        first_readings(home, machine)
    say(f"After {count} cuts in its first boot the image seals readings.")


def main() -> int:
    parser = argparse.ArgumentParser(prog="image/test.sh")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--tpm", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--board", default="virt")
    parser.add_argument("--cuts", type=int, default=0)
    parser.add_argument("--feed", type=Path, action="append", default=[])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.folder = options.folder.resolve()  # the S3 server changes into a folder of its own
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    figures: dict[str, Any] = {}
    out = options.image.parent
    figures["image_mb"] = round(options.image.stat().st_size / 1e6)
    for path in (*out.glob("*.img.zst"), out / "root.erofs"):
        figures[f"{path.suffix[1:]}_mb"] = round(path.stat().st_size / 1e6)
    try:
        with seaweedfs(options.folder / "s3") as server, simulated_meter() as meter:
            home = Home(options.image, options.tpm, options.folder, server, meter, options.board)
            card, machine = boot(home, "home", figures)
            second_boot(home, machine, figures)
            copied_card(home, card)
            writes(home, figures)
            for number, feed in enumerate(options.feed):
                if number == 0:
                    update(home, machine, feed, figures)
                else:
                    if options.cuts:
                        cuts_in_update(home, feed, options.cuts, figures["update_s"])
                    way_back(home, machine, feed)
            if options.cuts:
                cuts(home, options.cuts, figures["power_on_to_readings_s"])
    except Broken as mistake:
        print(mistake, file=sys.stderr)
        return 1
    finally:
        if options.json:
            print(json.dumps(figures))
        else:
            for name, value in figures.items():
                print(f"{name:28} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
