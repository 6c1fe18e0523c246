"""The errors of boto3 as this project's: a sentence for a person, without secrets.

An error's own text is never passed on: servers put requests, keys and signatures into it.
"""

from __future__ import annotations

import re

from botocore import exceptions as boto

from gateway.errors import StoreDenied, StoreUnavailable

_LATER = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "OperationAborted"})
_LATER_STATUS = frozenset({408, 409, 429})

# Codes: "Error responses" in the Amazon S3 API reference.
_REFUSALS = {
    "NoSuchBucket": "it has no such bucket; create the bucket, or correct the store's url",
    "InvalidAccessKeyId": "it does not know the access key; check the credentials",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key; check the credentials",
    "AccessDenied": "these credentials lack the permission; check what the access key may do",
    "ExpiredToken": "the credentials have expired; renew them",
    "RequestTimeTooSkewed": "this machine's clock and the server's differ too much; set the clock",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set the store's region",
    "PermanentRedirect": "the bucket is in another region; set the store's region and endpoint",
}
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.ConfigParseError,
    boto.ConfigNotFound,
)
_TRANSPORT = (
    ((boto.SSLError,), "its certificate is not accepted; check the endpoint and this machine's clock"),
    ((boto.ProxyConnectionError,), "the proxy in between cannot be reached; check the proxy's settings"),
    ((boto.ConnectTimeoutError, boto.ReadTimeoutError), "it does not answer in time"),
    ((boto.EndpointConnectionError,), "nothing answers at that address; check that the server is running"),
    (
        (boto.ConnectionClosedError, boto.ResponseStreamingError, boto.IncompleteReadError),
        "the connection broke before the answer was complete",
    ),
    ((boto.ChecksumError, boto.FlexibleChecksumError), "its answer is garbled"),
    ((boto.ConnectionError, boto.HTTPClientError), "the connection to it failed"),
)


def code_of(error: boto.ClientError) -> str:
    """The S3 error code, such as NoSuchKey; an answer without a body has its HTTP status there."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: boto.ClientError) -> int:
    """The HTTP status."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def explain(error: Exception, where: str) -> StoreUnavailable | StoreDenied:
    """The error to raise instead of `error`; `where` names the bucket and the server."""
    if isinstance(error, boto.ClientError):
        return _answered(error, where)
    if isinstance(error, _NO_CREDENTIALS):
        return StoreDenied(
            f"{where} cannot be used: there are no usable credentials; give the store an access key and a"
            " secret key, or configure boto3"
        )
    for kinds, reason in _TRANSPORT:
        if isinstance(error, kinds):
            return StoreUnavailable(f"{where} cannot be used now: {reason}")
    name = type(error).__name__
    if isinstance(error, boto.BotoCoreError):
        return StoreDenied(f"{where} cannot be used: boto3 reports {name}; check boto3's configuration")
    return StoreUnavailable(f"{where} cannot be used now: its answer is garbled ({name})")


def _answered(error: boto.ClientError, where: str) -> StoreUnavailable | StoreDenied:
    status, code = status_of(error), code_of(error)
    # A server's own text is shown only if it looks like a code.
    named = f"{code} (HTTP {status})" if re.fullmatch(r"[A-Za-z]{1,64}", code) else f"HTTP {status}"
    if status >= 500 or status in _LATER_STATUS or code in _LATER:
        return StoreUnavailable(f"{where} cannot be used now: it answers {named}")
    reason = _REFUSALS.get(code)
    if reason is None and status == 403:
        reason = "check the credentials and what they may do"
    return StoreDenied(f"{where} refuses: {reason or 'no S3 server should give this answer'} ({named})")
