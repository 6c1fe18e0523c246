"""Meters: what each quantity's register is called in each model, and how it is read.

The room yields readings and knows nothing of what becomes of them.

- `reading`    what a meter says at one moment, and what every meter can do
- `profile`    a meter model as data: `profiles/*.toml`, checked
- `value`      a register's words to an exact number
- `bus`        one Modbus connection: TCP, serial, RTU over TCP
- `modbus`     a meter on a bus, read by its profile
- `reader`     reads a meter for ever, whatever happens to it
"""
