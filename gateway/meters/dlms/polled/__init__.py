"""Polled DLMS meters.

- `model`          a polled meter's profile
- `counter`        the gateway's invocation counter, durable before it is used
- `connection`     connections to a meter, each with an association
- `load_profile`   registers at the end of past periods
- `disconnector`   the switch that disconnects a home
- `meter`          a polled meter
"""
