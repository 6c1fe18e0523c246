"""The machine underneath: what the gateway asks of the operating system, and tells it.

- `clock`       wall and monotonic time, and whether the wall clock can be trusted
- `files`       files that a power cut leaves whole
- `systemd`     what the service manager wants to hear
- `fault_log`   says a repeating fault once, then rarely, then that it is over
"""
