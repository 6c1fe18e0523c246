"""`gateway centre`: a module for each command; `options` and `examples` are what they share."""
