"""P1, the customer's port of Dutch, Belgian, Luxembourgish, Swedish and other meters (DSMR P1 Companion
Standard 2.2 to 5.0.2 and what follows it).

- `frames`    bytes to telegrams: from `/` to `!`, and the check sequence behind it
- `cipher`    bytes to telegrams where the meter encrypts them
- `lines`     a telegram's lines to values: dsmr-parser, in the extra `p1`
- `decoder`   values to the lanes
- `model`     what a profile says of a P1 meter
"""
