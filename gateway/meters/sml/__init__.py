"""SML, the Smart Message Language that German meters send by themselves (BSI TR-03109-1 Anlage IV, SML 1.04).

- `check`      the check sequences of frames and messages
- `transport`  bytes to frames: transport protocol version 1
- `fields`     a frame to values: the type-length fields of the binary encoding
- `message`    values to lists of registers: SML_GetList.Res
- `decoder`    lists to telegrams: which register is what
- `model`      what a profile says of an SML meter
"""
