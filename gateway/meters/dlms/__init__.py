"""DLMS/COSEM, by its layers: meters polled over HDLC or TCP, and meters that push.

Below `polled` and `push`, only `link/channel` and `link/mode_e` know a transport: all other modules take
octets and give octets or values.

- `octets`         octets in order, lengths
- `cosem/`         values, times, quantities, objects
- `application/`   APDUs, associations, ciphering
- `link/`          the frames that carry APDUs
- `polled/`        meters that are polled
- `push/`          meters that push
"""
