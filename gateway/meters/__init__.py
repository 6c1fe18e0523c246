"""Meters: what each quantity is called in each model, and how it is read.

The room yields readings and knows nothing of what becomes of them.

- `reading`    what a meter says at one moment, and what every meter can do
- `profile`    a meter model as data: `profiles/*.toml`, checked
- `endpoint`   where a meter is reached
- `transport`  bytes to and from there
- `listener`   a meter that speaks by itself
- `reader`     reads a meter for ever, whatever happens to it
- `detect`     which profiles understand what a port hears
- `table`      the table of meters in README.md, from the profiles
- `capture`    what a meter said, as a file that becomes a test
- `secrets`    a meter's keys and password
- `modbus/` `dlms/` `p1/` `sml/`   what they speak: bytes in, events out, and thin transports
"""
