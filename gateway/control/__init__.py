"""The control API, for everything outside the daemon.

- `documents`   requests and answers
- `objects`     those of reading stored objects
- `client`      a client of the running gateway
"""
