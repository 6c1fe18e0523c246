"""The demo that ./provisioning/try.sh runs: the gateway between a simulated home and one provider.

Exit codes: 0 if every minute agreed and no finer window opened, 1 if not, 4 if a part cannot start or ends
on its own, 130 for a Ctrl-C before the first minute.
"""

from __future__ import annotations

import argparse
import signal
import sys


def main() -> int:
    """Parse the command line, and run."""
    parser = argparse.ArgumentParser(prog="try.py", description="./provisioning/try.sh --help says more.")
    parser.add_argument("--once", action="store_true", help="end after the first minute")
    parser.add_argument("--software-root", action="store_true", help="do without a TPM")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while there is nothing to stop, Ctrl-C just ends it
    from provisioning.demo.run import run  # noqa: PLC0415 - takes a second

    return run(once=options.once, software=options.software_root)


if __name__ == "__main__":
    sys.exit(main())
