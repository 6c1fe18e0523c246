"""Modbus: registers of 16 bits, polled over TCP, a serial line, or RTU frames over TCP.

- `model`          a meter's registers, probe and limits, from its profile
- `sunspec_model`  what SunSpec specifies for meters
- `value`          a register's words to an exact number
- `bus`            one connection, which several meters may share
- `meter`          a meter on a bus: neighbouring registers in one request
- `sunspec`        a meter that says where its registers are
- `scan`           finds the devices on a bus, and the profiles that fit them
"""
