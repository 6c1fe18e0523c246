"""Simulated homes and meters, for trying the gateway without hardware and for its tests.

- `home`       the home's consumption and its roof's production, second by second, from a seed
- `truth`      the home at a clock's pace, and a record of what its meter showed
- `modbus_registers` `modbus`   a Modbus meter
- `dlms_objects` `dlms_server` `dlms`   a DLMS meter that is polled
- `push_lists` `push`   a DLMS meter that pushes
- `sml` `p1`   meters that send SML, and P1
- `text`   a meter that speaks text after IEC 62056-21
- `tic` `mbus`   a Linky, and a meter of Netz Oberösterreich
- `answer_server`   serves meters that are polled, on the network
- `push_server`   serves meters that push, on the network or a serial port
"""
