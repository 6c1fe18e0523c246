"""The ways to an S3 server: private authorities, proxies, the bucket's name in the host name, redirects; and
no way to a cloud's metadata server. Each goes through both readers, boto3's and the one without it."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import hashlib
import ipaddress
import secrets
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.errors import NotFound, StoreDenied, StoreUnavailable, UsageError
from gateway.store import s3_trust
from gateway.store.location import Location
from gateway.store.s3 import S3Bucket
from gateway.store.s3_get import PlainGets
from gateway.store.s3_session import session
from tests.store.relay import Instead, Relay, error, relay
from tests.store.test_s3 import opened
from tests.support.servers import S3Server

VARIABLES = ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_PROFILE"]
PROXIES = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"]
KEYS = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_EC2_METADATA_DISABLED"]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home and an environment where nothing is configured."""
    for name in (*VARIABLES, *PROXIES, *KEYS):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(params=["plain", "boto3"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which of the two readers serves; `used` checks it."""
    name: str = request.param
    if name == "boto3":
        monkeypatch.setattr(PlainGets, "of", lambda *_: None)
    return name


def used(reader: str, bucket: object) -> None:
    assert isinstance(bucket, S3Bucket)
    assert (bucket._plain is not None) == (reader == "plain")


async def works(location: Location, reader: str) -> None:
    """Everything that is asked of a bucket."""
    async with opened(location) as bucket:
        used(reader, bucket)
        await bucket.put("v1/a", b"1")
        await bucket.put("v1/b", b"2", replace=True)
        with pytest.raises(NotFound):
            await bucket.get("v1/c")
        assert await bucket.get("v1/a") == b"1"
        assert [key async for key in bucket.list("v1/")] == ["v1/a", "v1/b"]
        if reader == "plain":  # which hides its own failures: boto3 would be asked instead
            assert isinstance(bucket, S3Bucket)
            assert bucket._plain is not None
            assert await asyncio.to_thread(bucket._plain.get, f"{bucket._root}v1/a") == b"1"
            assert await asyncio.to_thread(bucket._plain.page, f"{bucket._root}v1/", "") is not None


# --- certificates


@dataclasses.dataclass(frozen=True)
class Authority:
    """A certificate authority, and where its certificate lies."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    path: Path

    @classmethod
    def new(cls, folder: Path) -> Authority:
        key, name = ec.generate_private_key(ec.SECP256R1()), secrets.token_hex(4)
        made = _signed(
            key, key, name, name, lambda builder: builder.add_extension(x509.BasicConstraints(True, 0), True)
        )
        path = folder / f"{name}.pem"
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return cls(key, made, path)

    def server(self, folder: Path, address: str = "127.0.0.1", days: int = 1) -> ssl.SSLContext:
        """What a server at `address` speaks TLS with."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        issuer = self.certificate.subject.rfc4514_string().removeprefix("CN=")
        made = _signed(
            key, self.key, address, issuer, lambda builder: builder.add_extension(names, False), days
        )
        path = folder / "server.pem"
        path.write_bytes(
            made.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _signed(
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    subject: str,
    issuer: str,
    extend: Callable[[x509.CertificateBuilder], x509.CertificateBuilder],
    days: int = 1,
) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
    return extend(builder).sign(signer, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.new(tmp_path)


async def test_a_private_authority_serves_by_its_file(
    minio: S3Server, authority: Authority, tmp_path: Path, reader: str
) -> None:
    async with relay(minio.location(secrets.token_hex(8)), authority.server(tmp_path)) as made:
        await works(dataclasses.replace(made.location, ca=authority.path), reader)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "AWS_CA_BUNDLE"])
async def test_an_authority_that_the_machine_trusts_serves(
    minio: S3Server,
    authority: Authority,
    tmp_path: Path,
    reader: str,
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, str(authority.path))
    async with relay(minio.location(secrets.token_hex(8)), authority.server(tmp_path)) as made:
        await works(made.location, reader)


def test_the_machines_authorities_come_before_botocores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Location.parse("s3://meters")
    own = tmp_path / "ca-certificates.crt"
    monkeypatch.setattr(s3_trust, "_BUNDLES", (str(tmp_path / "absent"), str(own)))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: type("Paths", (), {"cafile": None}))
    assert s3_trust.authorities(place) is True
    own.touch()
    assert s3_trust.authorities(place) == str(own)
    assert s3_trust.authorities(dataclasses.replace(place, ca=tmp_path / "x")) == str(tmp_path / "x")


@pytest.mark.parametrize(
    ("address", "days", "known", "said"),
    [
        ("127.0.0.1", 1, False, "give the file of the authority's certificate as the store's ca"),
        ("127.0.0.9", 1, True, "of another name"),
        ("127.0.0.1", -1, True, "not valid today"),
    ],
)
async def test_a_certificate_that_does_not_hold_is_told_with_its_cause(
    minio: S3Server,
    authority: Authority,
    tmp_path: Path,
    reader: str,
    address: str,
    days: int,
    known: bool,
    said: str,
) -> None:
    other = Authority.new(tmp_path)
    async with relay(minio.location(), authority.server(tmp_path, address, days)) as made:
        ca = authority.path if known else other.path
        async with opened(dataclasses.replace(made.location, ca=ca)) as bucket:
            for attempt in (bucket.put("v1/a", b""), bucket.get("v1/a"), bucket.list("").__anext__()):
                with pytest.raises(StoreUnavailable, match=said):
                    await attempt
        assert made.seen == []


async def test_a_server_that_does_not_speak_tls_is_told(minio: S3Server, reader: str) -> None:
    endpoint = minio.endpoint.replace("http:", "https:")
    async with opened(dataclasses.replace(minio.location(), endpoint=endpoint)) as bucket:
        with pytest.raises(StoreUnavailable, match="does not speak TLS"):
            await bucket.get("v1/a")


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nAA\n", b"\xff\0"])
def test_a_file_without_a_certificate_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=f"{path}, (cannot be read: No such file|holds no certificate)"):
        Location.parse("s3://meters", ca=path)


@pytest.mark.parametrize("replace", [False, True])
async def test_each_put_has_its_md5_and_a_signature_over_its_bytes(
    minio: S3Server, authority: Authority, tmp_path: Path, replace: bool
) -> None:
    """Amazon's object lock asks for the one; under https botocore leaves the other out for its sake."""
    async with relay(minio.location(secrets.token_hex(8)), authority.server(tmp_path)) as made:
        async with opened(dataclasses.replace(made.location, ca=authority.path)) as bucket:
            await bucket.put("v1/a", b"1", replace=replace)
        puts = [request.values for request in made.seen if request.method == "PUT"]
        assert puts
        for put in puts:
            assert put["content-md5"] == b64encode(hashlib.md5(b"1").digest()).decode()
            assert put["x-amz-content-sha256"] == hashlib.sha256(b"1").hexdigest()


# --- proxies


@asynccontextmanager
async def beyond(server: S3Server) -> AsyncIterator[tuple[Relay, Location]]:
    """A proxy to the server, and a place that is reached by it alone."""
    place = server.location(secrets.token_hex(8))
    async with relay(place) as made:
        yield made, dataclasses.replace(place, endpoint="http://store.invalid:9000")


async def test_a_proxy_serves(minio: S3Server, reader: str) -> None:
    async with beyond(minio) as (proxy, place):
        await works(dataclasses.replace(place, proxy=proxy.location.endpoint), reader)
        assert proxy.seen
        assert all(request.path.startswith("http://store.invalid:9000/") for request in proxy.seen)


async def test_a_proxy_of_the_environment_serves(minio: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with beyond(minio) as (proxy, place):
        monkeypatch.setenv("HTTP_PROXY", proxy.location.endpoint or "")
        await works(place, "boto3")  # which knows the environment's rules
        assert proxy.seen
        monkeypatch.setenv("NO_PROXY", "store.invalid")
        async with opened(place) as bucket:
            with pytest.raises(StoreUnavailable, match="nothing answers at that address"):
                await bucket.get("v1/a")


async def test_a_proxy_that_is_away_is_told(minio: S3Server, reader: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        place = dataclasses.replace(minio.location(), proxy=f"http://127.0.0.1:{nobody.getsockname()[1]}")
        async with opened(place) as bucket:
            with pytest.raises(StoreUnavailable, match="the proxy in between cannot be reached"):
                await bucket.get("v1/a")


@pytest.mark.parametrize(
    "proxy", ["http://me:secret@192.168.1.1:3128", "192.168.1.1:3128", "socks5://x:1", ""]
)
def test_what_is_not_a_proxy_is_refused(proxy: str) -> None:
    with pytest.raises(UsageError, match="the store's proxy is not an address like") as caught:
        Location.parse("s3://meters", "https://s3.example.org", proxy=proxy)
    assert "secret" not in str(caught.value)
    assert ("HTTPS_PROXY" in str(caught.value)) == ("@" in proxy)


# --- the bucket's name in the host name


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name below localhost is this machine, as RFC 6761 says and few resolvers do."""
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if str(host).endswith("localhost") else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.usefixtures("names")
async def test_the_buckets_name_may_be_in_the_host_name(minio: S3Server, reader: str) -> None:
    async with relay(minio.location(secrets.token_hex(8))) as made:
        endpoint = (made.location.endpoint or "").replace("127.0.0.1", "localhost")
        place = dataclasses.replace(made.location, endpoint=endpoint)
        await works(dataclasses.replace(place, addressing="virtual"), reader)
        assert {request.values["host"] for request in made.seen} == {
            "meters." + endpoint.removeprefix("http://")
        }
        assert not any(request.path.startswith("/meters") for request in made.seen)
        made.seen.clear()
        await works(dataclasses.replace(place, addressing="path"), reader)
        assert {request.values["host"] for request in made.seen} == {endpoint.removeprefix("http://")}
        assert all(request.path.startswith("/meters") for request in made.seen)


@pytest.mark.parametrize(
    ("url", "endpoint", "host"),
    [
        ("s3://meters", "http://127.0.0.1:9", None),
        ("s3://meters", "http://[::1]:9", None),
        ("s3://me.ters", "https://s3.example.org", None),
        ("s3://meters/home", "https://s3.example.org", "https://meters.s3.example.org"),
        ("s3://meters", "https://s3.example.org:9/a", "https://meters.s3.example.org:9/a"),
    ],
)
def test_where_a_name_can_be_in_front(url: str, endpoint: str, host: str | None) -> None:
    made = PlainGets.of(
        Location.parse(url, endpoint, "us-east-1", "key", "secret", addressing="virtual"), (1.0, 1.0), 1
    )
    assert (None if made is None else made._url) == host
    if made is not None:
        made.close()


# --- redirects


@pytest.mark.parametrize(
    "fault",
    [
        error("301 Moved Permanently", "PermanentRedirect"),
        error("400 Bad Request", "AuthorizationHeaderMalformed"),
    ],
    ids=["301", "400"],
)
async def test_a_redirect_that_names_no_region_ends_in_a_sentence(
    minio: S3Server, fault: Instead, reader: str
) -> None:
    async with relay(minio.location(secrets.token_hex(8))) as made, opened(made.location) as bucket:
        used(reader, bucket)
        made.plan = lambda request: fault
        for attempt in (bucket.put("v1/a", b""), bucket.get("v1/a"), bucket.list("").__anext__()):
            with pytest.raises(StoreDenied, match="another region; set the store's region"):
                await attempt


async def test_an_archived_object_is_told(minio: S3Server, reader: str) -> None:
    async with relay(minio.location(secrets.token_hex(8))) as made, opened(made.location) as bucket:
        used(reader, bucket)
        made.plan = lambda request: error("403 Forbidden", "InvalidObjectState")
        with pytest.raises(StoreDenied, match=r"in an archive.*lifecycle"):
            await bucket.get("v1/a")


# --- no metadata server


def test_boto3_has_no_provider_that_asks_the_network() -> None:
    left = {provider.METHOD for provider in session()._session.get_component("credential_provider").providers}
    assert {"env", "shared-credentials-file", "config-file"} <= left
    assert not {"iam-role", "container-role"} & left


async def test_no_metadata_server_is_asked(minio: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        where = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", where)
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", where)
        for place in (
            dataclasses.replace(minio.location(), access_key=None, secret_key=None),
            Location.parse("s3://meters", minio.endpoint),
        ):
            async with opened(place) as bucket:
                for attempt in (bucket.put("v1/a", b""), bucket.get("v1/a"), bucket.list("").__anext__()):
                    with pytest.raises(StoreDenied, match="no usable credentials"):
                        await attempt
    assert asked == 0
