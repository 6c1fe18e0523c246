"""Text after IEC 62056-21 (formerly IEC 1107): data sets such as `1-0:1.8.0*255(000123.4567*kWh)`, which a
meter pushes (mode D) or sends on request (modes A, B and C).

- `sign_on`     a request at 300 Bd, the meter's identification, and the change to a faster speed
- `datasets`    a data block to values by their codes
- `registers`   values to the lanes
- `telegrams`   bytes of a meter that pushes to telegrams
- `readout`     bytes of a meter that was asked to its data block, and the block check character
- `decoder`     a meter that pushes
- `meter`       a meter that is asked
- `model`       their profiles
"""
