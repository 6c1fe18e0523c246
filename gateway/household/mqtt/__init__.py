"""MQTT: the household's own broker, for Home Assistant, and the utility's, for commands, prices and receipts.

- `configuration`  [mqtt.home] and [mqtt.utility]
- `link`           stays connected, and says what is wrong
- `discovery`      the gateway and its meters as Home Assistant's devices
- `home`           the household's own broker: states, discovery, acts
- `utility`        the utility's broker: commands and prices in, receipts and ciphertexts out
- `check`          connects and tries each right, for a person
"""
