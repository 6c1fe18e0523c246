"""The control API, for everything outside the daemon.

- `documents`   requests and answers
- `client`      a client of the running gateway
"""
