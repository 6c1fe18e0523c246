"""The household's daemon: what the people in the home see and decide, in a browser, on a phone and over MQTT."""
