"""MQTT, as everything here speaks it that knows a broker.

- `broker`  one connection to a broker
- `topics`  the topics at a utility's broker: PROTOCOL.md, "MQTT"
"""
