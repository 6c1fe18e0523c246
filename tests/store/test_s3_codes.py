"""Every answer that S3 documents has a sentence of its own."""

from __future__ import annotations

import re
from typing import Any

import pytest
from boto3.session import Session
from botocore import exceptions as boto
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import StoreDenied, StoreUnavailable
from gateway.store.s3_codes import ANSWERS, DENIED, RIGHTS
from gateway.store.s3_errors import explain

# "List of error codes" in the Amazon S3 API reference, without those of botocore's own copy of the list.
DOCUMENTED = (
    "AccessControlListNotSupported AccessPointAlreadyOwnedByYou AuthenticationRequired "
    "AuthorizationQueryParametersError BucketHasAccessPointsAttached ClientTokenConflict "
    "ConditionalRequestConflict ConnectionClosedByRequester DeviceNotActiveError EndpointNotFound "
    "IllegalLocationConstraintException IncorrectEndpoint InvalidAccessPoint InvalidAccessPointAliasError "
    "InvalidBucketAclWithObjectOwnership InvalidBucketOwnerAWSAccountID InvalidHostHeader "
    "InvalidHttpMethod InvalidSOAPRequest InvalidSessionException InvalidSignature InvalidTag "
    "KMS.DisabledException KMS.InvalidKeyUsageException KMS.KMSInvalidStateException "
    "KMS.NotFoundException MalformedPolicy MissingAttachment MissingAuthenticationToken "
    "MissingSecurityElement NoSuchAccessPoint NoSuchAsyncRequest NoSuchConfiguration "
    "NoSuchCORSConfiguration NoSuchMultiRegionAccessPoint NoSuchObjectLockConfiguration NoSuchTagSet "
    "NoSuchWebsiteConfiguration NoTransformationDefined NotDeviceOwnerError NotModified "
    "ObjectLockConfigurationNotFoundError OwnershipControlsNotFoundError PermanentRedirectControlError "
    "RequestHeaderSectionTooLarge ResponseInterrupted ServerSideEncryptionConfigurationNotFoundError "
    "TokenCodeInvalidError TooManyAccessPoints TooManyMultiRegionAccessPointregionsError "
    "TooManyMultiRegionAccessPoints UnauthorizedAccessError UnexpectedIPError UnsupportedArgument "
    "UnsupportedSignature "
)

WHERE = "the store s3://meters at https://s3.example.org"


def error(
    code: str, status: int = 400, operation: str = "PutObject", message: str = "", **more: str
) -> boto.ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": message, **more},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return boto.ClientError(answer, operation)


def of_botocore() -> set[str]:
    """The codes in the model of S3 that botocore ships."""
    model = Session().client("s3", region_name="us-east-1").meta.service_model
    shape: Any = model.shape_for("Error")
    text = shape.members["Code"].documentation
    return {code for code in re.findall(r"<i>Code:</i>\s*([A-Za-z.]+)", text) if code != "N"}


def test_every_documented_code_has_an_answer() -> None:
    found = of_botocore()
    assert len(found) > 60
    assert sorted((found | set(DOCUMENTED.split())) - set(ANSWERS)) == []


@pytest.mark.parametrize("code", sorted(ANSWERS))
def test_each_answer_names_its_cause(code: str) -> None:
    answer = ANSWERS[code]
    said = explain(error(code), WHERE, "")
    assert isinstance(said, StoreUnavailable if answer.later else StoreDenied)
    assert WHERE in str(said)
    if code not in DENIED:
        assert answer.cause in str(said)
    if not code.isdigit():
        assert f"({code} (HTTP 400))" in str(said)
    if not answer.later:  # a person must act, and is told how
        assert "; " in answer.cause


def test_what_may_pass_is_for_later_and_the_rest_is_not() -> None:
    later = {code for code, answer in ANSWERS.items() if answer.later}
    assert {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted"} < later
    assert {"ConditionalRequestConflict", "BadDigest", "TemporaryRedirect"} < later
    assert not {"AccessDenied", "NoSuchBucket", "RequestTimeTooSkewed", "InvalidObjectState"} & later
    assert not {"XMinioStorageFull", "QuotaExceeded", "PermanentRedirect", "SignatureDoesNotMatch"} & later


@pytest.mark.parametrize(("operation", "right"), RIGHTS.items())
def test_a_refusal_names_the_right(operation: str, right: str) -> None:
    assert f"lack the permission {right};" in str(explain(error("AccessDenied", 403, operation), WHERE, ""))


def test_the_right_that_the_server_names_goes_first() -> None:
    message = 'User: arn:aws:iam::1:user/x is not authorized to perform: kms:GenerateDataKey on resource: "y"'
    said = str(explain(error("AccessDenied", 403, message=message), WHERE, ""))
    assert "lack the permission kms:GenerateDataKey;" in said
    assert "arn:" not in said


def test_a_cap_is_not_a_missing_right() -> None:
    message = "Cannot upload files, storage cap exceeded. See the Caps & Alerts page to increase your cap."
    assert "cap is reached" in str(explain(error("AccessDenied", 403, message=message), WHERE, ""))


@pytest.mark.parametrize("code", ["AuthorizationHeaderMalformed", "PermanentRedirect"])
def test_the_region_that_the_server_names_is_told(code: str) -> None:
    assert "in the region eu-west-1; set" in str(explain(error(code, Region="eu-west-1"), WHERE, ""))
    assert "in another region; set" in str(explain(error(code, Region="of the moon!"), WHERE, ""))


def test_a_key_of_encryption_that_is_unknown_is_still_one() -> None:
    assert "encrypt" in str(explain(error("KMS.ThrottledByNobody"), WHERE, ""))


def test_a_full_disk_is_told_by_its_status_alone() -> None:
    said = explain(error("507", 507), WHERE, "")
    assert isinstance(said, StoreDenied)
    assert "no room left" in str(said)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, StoreDenied), (408, StoreUnavailable), (429, StoreUnavailable), (599, StoreUnavailable)],
)
def test_an_unknown_code_is_kept_with_its_text(status: int, kind: type[Exception]) -> None:
    said = explain(error("MoonFull", status, message="The moon is full."), WHERE, "")
    assert isinstance(said, kind)
    assert str(said).endswith(f"it says 'The moon is full.' (MoonFull (HTTP {status}))")


@pytest.mark.parametrize("code", ["InvalidRequest", "InvalidArgument"])
def test_a_code_that_says_little_is_told_with_its_text(code: str) -> None:
    said = str(explain(error(code, message="Object is WORM protected and cannot be overwritten"), WHERE, ""))
    assert f"'Object is WORM protected and cannot be overwritten' ({code} (HTTP 400))" in said


@given(
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghij+/=", min_size=16, max_size=64),
    st.text(max_size=20),
    st.text(max_size=20),
)
def test_no_key_or_signature_of_a_servers_text_is_shown(key: str, before: str, after: str) -> None:
    assert key not in str(explain(error("MoonFull", message=f"{before}{key}{after}"), WHERE, ""))
