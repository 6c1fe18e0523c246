"""Meters that push DLMS lists: the HAN ports of the Nordic countries, the customer interfaces of Austria and
Switzerland.

- `links`      bytes to messages, over HDLC or M-Bus
- `decoder`    messages to telegrams: blocks, deciphering, refusal of copies
- `lists`      a list to registers, whatever its maker's layout
- `layouts`    lists of values alone, known by their types and their places
- `model`      a pushing meter's profile
"""
