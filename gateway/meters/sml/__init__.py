"""SML, the Smart Message Language, which German meters push (BSI TR-03109-1 Anlage IV, SML 1.04).

- `check`      the check sequences of frames and messages
- `transport`  bytes to frames: transport protocol version 1
- `fields`     a frame to values: the type-length fields of the binary encoding
- `message`    values to lists of registers: SML_GetList.Res
- `decoder`    lists to telegrams: the registers that fill the lanes
- `model`      an SML meter's profile
"""
