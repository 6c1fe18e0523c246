"""The control API, for everything outside the daemon.

- `documents`   requests and answers
- `objects`     those of reading stored objects
- `commands`    the documents of providers' commands
- `client`      a client of the running gateway
"""
