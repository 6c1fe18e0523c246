"""The control API, for everything outside the daemon.

- `documents`   requests and answers
- `objects`     those of reading stored objects
- `commands`    the documents of providers' commands
- `follows`     those of standing decisions about price series
- `client`      a client of the running gateway
"""
