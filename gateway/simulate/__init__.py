"""Simulated homes and meters, for trying the gateway without hardware and for its tests.

- `home`       the power of a home with a solar roof, second by second, from a seed
- `truth`      the home at a clock's pace, and a record of what its meter showed
- `modbus_registers` `modbus`   a Modbus meter
- `dlms_objects` `dlms_server` `dlms`   a polled DLMS meter
- `push_lists` `push`   a DLMS meter that pushes
- `sml` `p1`   meters that send SML and P1
- `push_server`   a pushing meter's output, on the network or a serial port
"""
