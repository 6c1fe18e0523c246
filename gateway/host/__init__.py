"""The host: what the gateway uses of the operating system.

- `clock`       wall and monotonic time, and whether the wall clock can be trusted
- `clock_note`  the process that waits until the clock is synchronised, and notes it for others
- `files`       files that a power cut leaves whole, and files that hold secrets
- `collector`   Python's collector of objects in cycles, for processes that work through many homes
- `codes`       codes that people type from a label or a screen
- `release`     the release of the image that has booted
- `systemd`     notifications to the service manager
- `fault_log`   logs a repeating fault once, then rarely, and once more when it clears
"""
