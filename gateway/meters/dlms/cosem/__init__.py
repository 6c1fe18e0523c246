"""COSEM: values, times, quantities and objects (DLMS UA Blue Book). Octets in, values out.

- `data`        COSEM values in A-XDR
- `date_time`   COSEM's date-time and Unix time
- `quantity`    a register's value with scaler and unit, to mWh or W
- `objects`     OBIS codes, attributes and methods, selections
"""
