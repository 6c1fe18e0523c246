"""The authorities that may sign an S3 server's certificate: the file that the owner named, or those that this
machine trusts, to which its owner can add. botocore by itself takes a list of its own."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from gateway.store.location import Location

_ENVIRONMENT = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")  # as botocore takes them, the first before the second
_BUNDLES = (  # where distributions keep them: certFiles in Go's crypto/x509/root_linux.go
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def authorities(location: Location) -> str | bool:
    """The file for botocore's `verify`; True, for a list of its own, on a machine that has none."""
    if location.ca is not None:
        return str(location.ca)
    for name in _ENVIRONMENT:
        if name in os.environ:
            return os.environ[name]
    own = ssl.get_default_verify_paths().cafile  # by SSL_CERT_FILE, or as OpenSSL was built
    return next((path for path in (own, *_BUNDLES) if path and Path(path).is_file()), True)
