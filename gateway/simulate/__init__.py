"""A simulated home and its meter, for trying the gateway without hardware and for its tests.

- `home`       what the home draws and its roof gives, second by second, from a seed
- `truth`      the home at a clock's pace, and what its meter showed
- `modbus_registers` `modbus`   a Modbus meter
- `dlms_objects` `dlms_server` `dlms`   a DLMS meter that is asked
- `push_lists` `push`   a DLMS meter that pushes
- `sml` `p1`   meters that send SML, and P1
- `push_server`   those that speak by themselves, on the network or a serial port
"""
