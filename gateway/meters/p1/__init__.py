"""P1, the customer port of Dutch, Belgian, Luxembourgish, Swedish and other meters (DSMR P1 Companion
Standard 2.2 to 5.0.2, and the national standards that follow it).

- `frames`    bytes to telegrams: from `/` to `!` and the check sequence after it
- `cipher`    bytes to telegrams where the meter encrypts them
- `lines`     a telegram's lines to values: dsmr-parser, in the extra `p1`
- `decoder`   values to the lanes
- `model`     a P1 meter's profile
"""
