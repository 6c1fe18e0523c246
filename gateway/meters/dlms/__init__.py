"""DLMS/COSEM: meters that are asked over HDLC or TCP, and meters that push.

The parts know no transport: octets in, octets or values out.

- `octets`     octets in order, lengths
- `data`       COSEM values in A-XDR
- `date_time`  COSEM's date-time and Unix time
- `quantity`   a register with its scaler and unit, as mWh or W
- `cipher`     security suite 0: ciphered APDUs, HLS5-GMAC
"""
