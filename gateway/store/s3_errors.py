"""The errors of boto3 as this project's: a sentence for a person, without secrets.

An error's own text is passed on only where its code says nothing, and without what may be a key or a
signature: servers put requests into it.
"""

from __future__ import annotations

import re
import ssl

from botocore import exceptions as boto
from urllib3.util.ssl_match_hostname import CertificateError

from gateway.errors import StoreDenied, StoreUnavailable
from gateway.store.s3_codes import ANSWERS, DENIED, RIGHTS, UNKNOWN_KEYS, VAGUE, Answer

_LATER_STATUS = frozenset({408, 409, 429})
_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")
_SECRET = re.compile(r"[^\s'\"<>:,;]{16,}")  # an access key has 16 to 128 characters, and a signature 64
_NAMED_RIGHT = re.compile(r"not authorized to perform: ((?:s3|kms):[A-Za-z]{1,40})")
_REGION = re.compile(r"[a-z0-9-]{1,63}")
_CAP = re.compile(r"\bcap exceeded\b")  # Backblaze B2, as AccessDenied
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.ConfigParseError,
    boto.ConfigNotFound,
)
_TRANSPORT = (
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


class KeysRefused(StoreDenied):
    """The server refuses the credentials: others may serve."""


class RightLacks(KeysRefused):
    """The credentials lack a right, or are taken for such that do: an expired session may be."""


def code_of(error: boto.ClientError) -> str:
    """The S3 error code, such as NoSuchKey; an answer without a body has its HTTP status there."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: boto.ClientError) -> int:
    """The HTTP status."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def explain(error: Exception, where: str, advice: str) -> StoreUnavailable | StoreDenied:
    """The error to raise instead of `error`; `where` names the bucket and the server, and `advice` says what
    to do where there are no credentials."""
    if isinstance(error, boto.ClientError):
        return _answered(error, where)
    if isinstance(error, _NO_CREDENTIALS):
        return StoreDenied(f"{where} cannot be used: there are no usable credentials; {advice}")
    if isinstance(error, boto.SSLError):
        return StoreUnavailable(f"{where} cannot be used now: {_why_tls_fails(error)}")
    for kinds, reason in _TRANSPORT:
        if isinstance(error, kinds):
            return StoreUnavailable(f"{where} cannot be used now: {reason}")
    name = type(error).__name__
    if isinstance(error, boto.BotoCoreError):
        return StoreDenied(f"{where} cannot be used: boto3 reports {name}; check boto3's configuration")
    return StoreUnavailable(f"{where} cannot be used now: its answer is garbled ({name})")


def is_denied(error: boto.ClientError) -> bool:
    """Whether a right is missing."""
    return code_of(error) in DENIED


def lacking(right: str, where: str) -> RightLacks:
    """The error for credentials without `right`."""
    return RightLacks(
        f"{where} refuses: these credentials lack the permission {right}; allow it to the access key"
    )


def _answered(error: boto.ClientError, where: str) -> StoreUnavailable | StoreDenied:
    status, code = status_of(error), code_of(error)
    # A server's own code is shown only if it looks like one.
    named = f"{code} (HTTP {status})" if _CODE.fullmatch(code) and not code.isdigit() else f"HTTP {status}"
    answer = _answer(error)
    if answer is None:
        later = status >= 500 or status in _LATER_STATUS
        answer = Answer(later, _own_words(error) or "an S3 server should not give this answer")
    if answer.later:
        return StoreUnavailable(f"{where} cannot be used now: {answer.cause} ({named})")
    denied = RightLacks if code in DENIED else KeysRefused if code in UNKNOWN_KEYS else StoreDenied
    return denied(f"{where} refuses: {answer.cause} ({named})")


def _answer(error: boto.ClientError) -> Answer | None:
    """The answer's meaning, with the right or the region that its text names; None for an unknown code."""
    code, text = code_of(error), _text(error, "Message")
    if code in DENIED:
        if _CAP.search(text):
            return Answer(False, "the account's cap is reached; raise it")
        named = _NAMED_RIGHT.search(text)
        right = named[1] if named else RIGHTS.get(error.operation_name)
        if right:
            return Answer(False, f"these credentials lack the permission {right}; allow it to the access key")
    answer = ANSWERS.get(code) or (ANSWERS["KMS.DisabledException"] if code.startswith("KMS.") else None)
    if answer is None and not _own_words(error):
        return ANSWERS.get(str(status_of(error)))
    if answer is None or (answer.cause == VAGUE and _own_words(error)):
        return None
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = _text(error, "Region") or headers.get("x-amz-bucket-region", "")
    if "another region" in answer.cause and _REGION.fullmatch(region):
        return Answer(answer.later, answer.cause.replace("another region", f"the region {region}"))
    return answer


def _own_words(error: boto.ClientError) -> str:
    """The server's own text, where it has one that can be shown."""
    text = _SECRET.sub("...", _text(error, "Message"))
    return f"it says {text!r}" if re.fullmatch("[ -~]{1,200}", text) else ""


def _text(error: boto.ClientError, field: str) -> str:
    return str(error.response.get("Error", {}).get(field, ""))


def _why_tls_fails(error: boto.SSLError) -> str:
    """The cause in words, by the codes of "X509_STORE_CTX_get_error" in OpenSSL's manual."""
    found: BaseException | None = error.kwargs.get("error")
    while found is not None and not isinstance(found, ssl.SSLError | CertificateError):
        inner = [one for one in found.args if isinstance(one, BaseException)]
        found = inner[0] if inner else None
    if isinstance(found, CertificateError):  # urllib3's own check
        return "its certificate is of another name; check the endpoint"
    if not isinstance(found, ssl.SSLCertVerificationError):
        return (
            "it does not speak TLS as this machine does; if it speaks none, the endpoint begins with http://"
        )
    if found.verify_code in (9, 10):  # not yet, or no longer, valid
        return "its certificate is not valid today; check this machine's clock, and renew the certificate"
    return (
        "its certificate is not signed by an authority that this machine knows; give the file of the"
        " authority's certificate as the store's ca"
    )
