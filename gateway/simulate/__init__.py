"""A simulated home and its meter, for trying the gateway without hardware and for its tests.

- `household`  what the home draws and its roof gives, second by second, from a seed
- `modbus`     its meter: a Modbus TCP server whose registers show the home
"""
