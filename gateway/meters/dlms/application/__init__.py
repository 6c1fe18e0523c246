"""The application layer (DLMS UA Green Book): APDUs, associations, ciphering. No I/O.

- `apdu`             GET, SET and ACTION, data-notification
- `refusal`          a meter's refusals, as sentences
- `cipher`           security suites 0 and 1: ciphered APDUs, HLS5-GMAC
- `association`      opening and closing an association
- `block_transfer`   general-block-transfer
- `client`           the client's side of an association
"""
