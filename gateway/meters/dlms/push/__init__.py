"""Meters that push DLMS lists by themselves: the HAN ports of the Nordics, the customer interfaces of
Austria and Switzerland.

- `links`      HDLC or M-Bus: bytes to messages
- `decoder`    messages to telegrams: blocks, ciphering, copies refused
- `lists`      what a list holds, whatever its maker's layout
- `model`      all of that from a profile
"""
