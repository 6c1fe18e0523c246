"""Speedwire, the datagrams that SMA's Energy Meters and Home Managers send to everyone on their network.

SMA, "SMA Energy Meter Zählerprotokoll", EMETER-Protokoll-TI-en-10. Nothing in a datagram says that it is
genuine: whoever is on the network can send one in the meter's name.

- `datagram`  bytes to the measured values of one meter
- `decoder`   datagrams to telegrams of one meter, whoever else sends
- `model`     the profile, and the multicast group
"""
