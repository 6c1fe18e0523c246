"""Meters of many models and protocols, read: bytes in, readings out. README.md has the models.

The room yields readings and knows nothing of what becomes of them.

- `reading`    registers at one moment, and the interface of a meter
- `profile`    a meter model as data: `profiles/*.toml`, checked
- `endpoint`   where a meter is reached
- `transport`  bytes to and from there
- `listener`   a meter that pushes
- `coarse`     a meter that shows whole kWh only
- `switch`     a home's supply and the limit on what it draws: the only writing here
- `reader`     reads a meter for ever, whatever happens to it
- `detect`     the profiles that can decode what arrives at a port
- `search`     the meters on a line or behind an address
- `table`      the table of meters in README.md, from the profiles
- `capture`    a meter's answers, recorded in a file that becomes a test
- `secrets`    a meter's keys and password
- `parity`     characters of seven bits on a line of eight
- `totals`     an energy that a meter shows twice, as a total and by tariff
- `modbus/` `dlms/` `p1/` `sml/` `iec62056/` `tic/` `mbus/` `speedwire/`   the protocols: bytes in, events
  out, and thin transports
"""
