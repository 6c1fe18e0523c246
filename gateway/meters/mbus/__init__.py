"""The customer interface of the AMIS meters of Netz Oberösterreich (Siemens TD-3511): encrypted M-Bus, in
which the meter is the master and whoever listens must confirm each frame (Netz Oberösterreich, AMIS-Zähler
Kundenschnittstelle, 5 November 2021; EN 13757-2 and -3; OMS Specification Volume 2, issue 3.0.1).

- `frames`    bytes to frames
- `records`   a frame to the data records in it, decrypted
- `decoder`   records to the lanes
- `model`     the profile
"""
