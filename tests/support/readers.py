"""Credentials that may only read some streams, made at a real server as `gateway view policy` says."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence

from argon2.low_level import Type, hash_secret_raw
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Keys
from botocore.httpsession import URLLib3Session
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.household.view import policy, seaweedfs_identity
from gateway.store.credentials import Credentials
from tests.support.servers import S3Server


def read_only(server: S3Server, url: str, streams: Sequence[bytes]) -> Credentials:
    """Keys that may list and get below the prefixes of these streams in the bucket at `url`. SeaweedFS is
    started again for it."""
    keys = Credentials(secrets.token_hex(8), secrets.token_hex(20))
    if server.limited:  # of SeaweedFS
        path = server.folder / "s3.json"
        known = json.loads(path.read_text())
        made = seaweedfs_identity(url, streams)
        made["name"] = f"view {keys.access_key}"
        made["credentials"] = [{"accessKey": keys.access_key, "secretKey": keys.secret_key}]
        known["identities"].append(made)
        server.stop()
        path.write_text(json.dumps(known))
        server.start()
        return keys
    wanted = {"accessKey": keys.access_key, "secretKey": keys.secret_key, "policy": policy(url, streams)}
    asked = AWSRequest(
        "PUT",
        f"{server.endpoint}/minio/admin/v3/add-service-account",
        data=_encrypted(json.dumps(wanted).encode(), server.secret_key),
    )
    S3SigV4Auth(Keys(server.access_key, server.secret_key), "s3", "us-east-1").add_auth(asked)
    answer = URLLib3Session().send(asked.prepare())
    assert answer.status_code == 200, answer.status_code
    return keys


def _encrypted(data: bytes, password: str) -> bytes:
    """What MinIO's admin API takes (github.com/minio/madmin-go, encrypt.go, and github.com/secure-io/sio-go):
    salt, the cipher's number, a nonce, and one fragment under AES-256-GCM with a key by Argon2id. The
    fragment's associated data is a mark of the last one and the tag of an empty fragment number 0."""
    assert len(data) <= 1 << 14
    salt, nonce = secrets.token_bytes(32), secrets.token_bytes(8)
    key = hash_secret_raw(password.encode(), salt, 1, 65536, 4, 32, Type.ID)
    cipher = AESGCM(key)
    added = b"\x80" + cipher.encrypt(nonce + bytes(4), b"", None)
    return salt + b"\0" + nonce + cipher.encrypt(nonce + (1).to_bytes(4, "little"), data, added)
