"""The exit codes of commands."""

from __future__ import annotations

import signal

from gateway.errors import GatewayError

_BY_KIND = {"failed": 1, "usage": 2, "not_granted": 3, "unavailable": 4, "refused": 5, "newer_ledger": 6}
POWER_CYCLE = 7
"""Of `gateway release measure` alone: the machine must be switched off and on."""
BUG = 70  # sysexits.h: EX_SOFTWARE
INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + signal.SIGPIPE


def exit_code(error: GatewayError | type[GatewayError]) -> int:
    """1 failed, 2 wrong use or configuration, 3 not granted, 4 not available now, 5 refused: an invalid
    signature, chain or token; 6 a newer gateway wrote the ledger."""
    return _BY_KIND[error.kind]
