"""Where a bucket is, as people write it, and what is said where it cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.store.bucket import is_key
from gateway.store.location import Location
from gateway.store.opening import open_bucket

SECRET = "wJalrXUtnFEMI"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("s3://meters", "s3://meters"),
        ("s3://meters/", "s3://meters"),
        ("S3://meters/homes/north/", "s3://meters/homes/north"),
        ("/var/lib/gateway/store", "/var/lib/gateway/store"),
        ("store", "store"),
        ("file:///var/lib/my%20store", "/var/lib/my store"),
        ("file://localhost/var", "/var"),
    ],
)
def test_urls(written: str, meant: str) -> None:
    assert Location.parse(written).url == meant


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://s3.example.org",
        "http://127.0.0.1:9000",
        "http://minio:9000",
        "http://[::1]:9000",
        "https://x.example.org/storage/v1/s3",
    ],
)
def test_endpoints(endpoint: str) -> None:
    location = Location.parse("s3://meters", endpoint, "eu-central-1", "AK", SECRET)
    assert (location.endpoint, location.region, location.secret_key) == (endpoint, "eu-central-1", SECRET)
    assert Location.parse("s3://meters", endpoint + "/").endpoint == endpoint
    open_bucket(location)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "empty"),
        ("/var\0", "empty"),
        ("https://s3.example.org/meters", "https://.*endpoint"),
        ("s3://", "is not a bucket's name"),
        ("s3:///meters", "is not a bucket's name"),
        ("s3://Meters", "lower-case"),
        ("s3://me", "3 to 63"),
        ("s3://meters/a//b", "is not a bucket's key"),
        ("s3://meters/../other", "is not a bucket's key"),
        (f"s3://AK:{SECRET}@meters", "configured elsewhere"),
        (f"s3://meters?secret={SECRET}", "configured elsewhere"),
        ("file://elsewhere/var", "this machine"),
        ("file://", "absolute"),
    ],
)
def test_urls_that_cannot_be(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        Location.parse(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "s3.example.org",
        "ftp://s3.example.org",
        "https://",
        "https://-a.example.org",
        "https://s3.example.org:99999",
        "https://s3.example.org:0",
        "https://s3.example.org:https",
        "https://[::1",
        "https://[::::]",
        "https://s3.example.org?x=1",
        "https://s3 .example.org",
        "https://s3.example.org\n",
        f"https://AK:{SECRET}@s3.example.org",
    ],
)
def test_endpoints_that_cannot_be(endpoint: str) -> None:
    with pytest.raises(UsageError, match="endpoint") as caught:
        Location.parse("s3://meters", endpoint)
    assert SECRET not in str(caught.value)


def test_an_endpoint_does_not_go_with_a_directory() -> None:
    with pytest.raises(UsageError, match="s3://bucket"):
        Location.parse("meters", "http://127.0.0.1:9000")


@pytest.mark.parametrize(
    ("access", "secret", "said"),
    [
        ("AK", None, "secret key is not"),
        (None, SECRET, "access key is not"),
        ("AK", SECRET + "\n", "secret key .* line end"),
        ("A K", SECRET, "access key .* space"),
        ("", SECRET, "access key is empty"),
    ],
)
def test_credentials_that_cannot_be(access: str | None, secret: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        Location.parse("s3://meters", None, None, access, secret)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("region", ["", "eu central", "eu_central", "a" * 64])
def test_regions_that_cannot_be(region: str) -> None:
    with pytest.raises(UsageError, match="region"):
        Location.parse("s3://meters", None, region)


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(Location.parse("s3://meters", None, None, "AK", SECRET))


@given(
    st.text() | st.text("s3:/fileht.-@[]%\0ab", max_size=30), st.none() | st.text() | st.text("htps:/.[]@:1a")
)
def test_anything_else_is_a_usage_error(url: str, endpoint: str | None) -> None:
    try:
        location = Location.parse(url, endpoint)
    except UsageError:
        return
    assert location.url
    assert not location.url.startswith("s3://") or is_key(location.url.removeprefix("s3://"))
