"""DLMS/COSEM, by its layers: meters that are asked over HDLC or TCP, and meters that push.

Up to `polled` and `push`, and but for `link/channel`, no module knows a transport: octets in, octets or
values out.

- `octets`         octets in order, lengths
- `cosem/`         values, times, quantities, objects
- `application/`   APDUs, associations, ciphering
- `link/`          what carries APDUs
- `polled/`        meters that are asked
- `push/`          meters that push
"""
