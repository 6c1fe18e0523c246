"""MQTT: the household's own broker, for Home Assistant, and the utility's, for commands, prices and receipts.

- `configuration`  [mqtt.home] and [mqtt.utility]
- `broker`         one connection to a broker
- `link`           stays connected, and says what is wrong
- `discovery`      the gateway and its meters as Home Assistant's devices
- `home`           the household's own broker: states, discovery, acts
- `topics`         the utility's topics: PROTOCOL.md, "MQTT"
- `utility`        the utility's broker: commands and prices in, receipts and ciphertexts out
- `check`          connects and tries each right, for a person
"""
