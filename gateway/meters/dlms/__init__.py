"""DLMS/COSEM: meters that are asked over HDLC or TCP, and meters that push.

Up to `mbus` they know no transport: octets in, octets or values out.

- `octets`          octets in order, lengths
- `data`            COSEM values in A-XDR
- `date_time`       COSEM's date-time and Unix time
- `quantity`        a register with its scaler and unit, as mWh or W
- `cosem`           OBIS codes, attributes and methods, selections
- `cipher`          security suites 0 and 1: ciphered APDUs, HLS5-GMAC
- `apdu`            GET, SET and ACTION, data-notification
- `refusal`         what a meter refuses, as sentences
- `association`     opening and closing an association
- `block_transfer`  general-block-transfer
- `client`          the client's side of an association
- `load_profile`    registers at the end of past periods
- `disconnector`    the switch that disconnects a home
- `hdlc` `hdlc_link` `wrapper` `mode_e` `mbus`   what carries APDUs
- `channel`         a meter to exchange APDUs with, on a stream
- `counter`         the gateway's invocation counter, durable before it is used
- `model`           a polled meter's profile
- `connection`      connections to a meter, each with an association
- `meter`           a meter that is asked
- `push/`           meters that push
"""
