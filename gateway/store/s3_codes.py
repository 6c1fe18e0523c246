"""The answers of S3 servers by their error codes: whether to try again later, and the cause in words.

Sources: "Error responses" in the Amazon S3 API reference, and the model of S3 that botocore ships; MinIO's
cmd/api-errors.go; "S3 common response status codes" in Red Hat's developer guide of Ceph; and what Alibaba
OSS, Tencent COS, Volcengine TOS and Huawei OBS are known to answer to a path-style address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """What an error code stands for."""

    later: bool
    """Whether trying again may help; if not, a person must act."""
    cause: str
    """The cause, and what to do: the end of the sentence "the store refuses: ..."."""


RIGHTS: Mapping[str, str] = {
    "GetObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "ListObjectsV2": "s3:ListBucket",
}
"""The right that each request needs, as policies name it: "Actions, resources, and condition keys for Amazon
S3" in the service authorization reference. Other servers call it Read, Write or List."""

DENIED = frozenset({"AccessDenied", "403"})
"""The codes of a right that is missing. 403 is botocore's for an answer without a body."""

UNKNOWN_KEYS = frozenset(
    {
        "ExpiredToken",
        "TokenRefreshRequired",
        "InvalidToken",
        "InvalidTokenId",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
    }
)
"""The codes of credentials that the server does not accept, or no longer: of an expired session MinIO says
InvalidTokenId, SeaweedFS ExpiredToken, and of one that it cannot read InvalidAccessKeyId."""


def _all(later: bool, cause: str, codes: str) -> dict[str, Answer]:
    return dict.fromkeys(codes.split(), Answer(later, cause))


VAGUE = "it does not accept the request; check its settings for this bucket, and what lies in between"
"""The cause that codes stand for which say little: the server's own text may say more."""

_BUCKET = "check the bucket in the store's url"
_CREDENTIALS = "check the credentials"
_ENDPOINT = "check the store's endpoint"
_FOREIGN = f"it answers a request that was never made; {_ENDPOINT}, and what lies in between"

ANSWERS: Mapping[str, Answer] = {
    # Later, without a hand.
    **_all(
        True,
        "it is asked for more than it takes at a time",
        "SlowDown SlowDownRead SlowDownWrite Throttling TooManyRequests",
    ),
    **_all(
        True,
        "it has a fault of its own",
        "InternalError ServiceUnavailable ServerBusy ResponseInterrupted DeviceNotActiveError "
        "XMinioServerNotInitialized XMinioIAMNotInitialized XMinioBucketMetadataNotInitialized "
        "XMinioBackendDown",
    ),
    **_all(
        True,
        "the request did not reach it in time",
        "RequestTimeout ClientDisconnected ConnectionClosedByRequester",
    ),
    **_all(
        True,
        "other bytes reached it than were sent",
        "BadDigest IncompleteBody XAmzContentSHA256Mismatch XAmzContentChecksumMismatch",
    ),
    **_all(
        True,
        "another request for the same object is under way",
        "OperationAborted ConditionalRequestConflict",
    ),
    **_all(  # without a code of S3's
        True,
        "its answer is garbled: it sends somewhere else, as a captive portal or another web server does",
        "301 302 303 307 308",
    ),
    "TemporaryRedirect": Answer(True, "the bucket was made or moved a short while ago"),
    "RestoreAlreadyInProgress": Answer(True, "the object is being brought back from an archive"),
    # The bucket, and the way to it.
    "NoSuchBucket": Answer(False, "it has no such bucket; create the bucket, or correct the store's url"),
    **_all(
        False,
        f"it knows the bucket by no such name; {_BUCKET}",
        "InvalidBucketName NoSuchAccessPoint InvalidAccessPoint InvalidAccessPointAliasError "
        "NoSuchMultiRegionAccessPoint InvalidBucketOwnerAWSAccountID NotDeviceOwnerError",
    ),
    "MaxVersionsExceeded": Answer(
        False,
        "the object has as many versions as the server keeps; let the bucket's lifecycle remove old ones",
    ),
    "XMinioInsecureClientRequest": Answer(False, "it speaks https only; write the endpoint so"),
    "NoSuchKey": Answer(  # to a list
        False,
        "it takes the bucket for an object; leave the bucket's name out of the store's endpoint, or set the "
        'store\'s addressing to "virtual"',
    ),
    "InvalidBucketState": Answer(False, "the bucket's settings do not allow this request; correct them"),
    **_all(
        False,
        "the bucket is in another region; set the store's region",
        "AuthorizationHeaderMalformed IllegalLocationConstraintException IllegalLocationConstraint "
        "InvalidLocationConstraint InvalidRegion",
    ),
    **_all(
        False,
        "the bucket is in another region; set the store's region and endpoint",
        "PermanentRedirect Redirect PermanentRedirectControlError IncorrectEndpoint EndpointNotFound",
    ),
    **_all(
        False,
        "it wants the bucket's name in front of its host name; set the store's addressing to \"virtual\"",
        "SecondLevelDomainForbidden PathStyleDomainForbidden InvalidPathAccess VirtualHostDomainRequired "
        "InvalidAddressingHeader",
    ),
    **_all(
        False,
        f"that address does not take this kind of request: it may be a console's or a website's; {_ENDPOINT}",
        "MethodNotAllowed InvalidHttpMethod InvalidHostHeader InvalidURI UnexpectedIPError",
    ),
    # Who asks.
    "InvalidAccessKeyId": Answer(False, f"it does not know the access key; {_CREDENTIALS}"),
    "SignatureDoesNotMatch": Answer(
        False, f"the secret key does not belong to the access key; {_CREDENTIALS}"
    ),
    **_all(
        False,
        f"it does not accept these credentials; {_CREDENTIALS}",
        "InvalidSecurity InvalidToken InvalidTokenId TokenCodeInvalidError InvalidSignature "
        "InvalidSessionException CredentialsNotSupported",
    ),
    **_all(
        False,
        "it did not find the credentials in the request; check for a proxy in between that drops headers",
        "MissingSecurityHeader MissingSecurityElement MissingAuthenticationToken AuthenticationRequired",
    ),
    **_all(
        False,
        "it knows no signatures of version 4, which the gateway makes; use another server",
        "UnsupportedSignature AuthorizationQueryParametersError",
    ),
    **_all(
        False,
        "the credentials have expired; renew them",
        "ExpiredToken TokenRefreshRequired",
    ),
    **_all(
        False,
        "this machine's clock and the server's differ too much; set the clock",
        "RequestTimeTooSkewed",
    ),
    **dict.fromkeys(
        DENIED, Answer(False, "these credentials lack the permission; check what the access key may do")
    ),
    **_all(
        False,
        "the account behind these credentials is suspended or not signed up; ask who runs the server",
        "AccountProblem AllAccessDisabled NotSignedUp UserSuspended InvalidPayer UnauthorizedAccessError",
    ),
    # The object.
    **_all(
        False,
        "the object is in an archive, from which nothing can be read; bring it back to a class that can be "
        "read at once (restore it), and take the rule that archives out of the bucket's lifecycle",
        "InvalidObjectState",
    ),
    **_all(
        False,
        "it has no room left; make room there",
        "XMinioStorageFull 507",
    ),
    **_all(
        False,
        "the bucket's or the account's quota is used up; raise it",
        "QuotaExceeded XMinioAdminBucketQuotaExceeded",
    ),
    **_all(
        False,
        "it takes no objects of this length; let it take objects of 64 MiB",
        "EntityTooLarge MaxMessageLengthExceeded",
    ),
    **_all(
        False,
        "the bucket is set to encrypt with a key that cannot be used; mend the key, or change the setting",
        "KMS.DisabledException KMS.InvalidKeyUsageException KMS.KMSInvalidStateException "
        "KMS.NotFoundException KMS.DefaultKeyAlreadyConfiguredException InvalidEncryptionAlgorithmError",
    ),
    **_all(
        False,
        'it does not support what was asked; set the store\'s checksums to "when_required" if they are not',
        "NotImplemented UnsupportedArgument",
    ),
    **_all(
        False,
        "it takes no keys of this length; shorten the prefix in the store's url",
        "KeyTooLongError RequestHeaderSectionTooLarge",
    ),
    **_all(
        False,
        VAGUE,
        "InvalidRequest InvalidArgument InvalidDigest MissingContentLength MissingRequestBodyError "
        "MalformedXML UnexpectedContent InvalidStorageClass AccessControlListNotSupported "
        "PreconditionFailed NotModified",
    ),
    # Documented, and never an answer to what is asked here.
    **_all(
        False,
        _FOREIGN,
        "AccessPointAlreadyOwnedByYou AmbiguousGrantByEmailAddress BucketAlreadyExists "
        "BucketAlreadyOwnedByYou BucketHasAccessPointsAttached BucketNotEmpty ClientTokenConflict "
        "CrossLocationLoggingProhibited EntityTooSmall IllegalVersioningConfigurationException "
        "IncorrectNumberOfFilesInPostRequest InlineDataTooLarge InvalidBucketAclWithObjectOwnership "
        "InvalidPart InvalidPartOrder InvalidPolicyDocument InvalidRange InvalidSOAPRequest InvalidTag "
        "InvalidTargetBucketForLogging MalformedACLError MalformedPOSTRequest MalformedPolicy "
        "MaxPostPreDataLengthExceededError MetadataTooLarge MissingAttachment NoLoggingStatusForKey "
        "NoSuchAsyncRequest NoSuchBucketPolicy NoSuchCORSConfiguration NoSuchConfiguration "
        "NoSuchLifecycleConfiguration NoSuchObjectLockConfiguration NoSuchTagSet NoSuchUpload NoSuchVersion "
        "NoSuchWebsiteConfiguration NoTransformationDefined ObjectLockConfigurationNotFoundError "
        "OwnershipControlsNotFoundError RequestIsNotMultiPartContent RequestTorrentOfBucketError "
        "ReplicationConfigurationNotFoundError ServerSideEncryptionConfigurationNotFoundError "
        "TooManyAccessPoints TooManyBuckets TooManyMultiRegionAccessPointregionsError "
        "TooManyMultiRegionAccessPoints UnresolvableGrantByEmailAddress UserKeyMustBeSpecified",
    ),
}
