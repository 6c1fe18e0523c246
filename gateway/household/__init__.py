"""The household's daemon: what the people in the home see and decide, by browser, phone and MQTT."""
