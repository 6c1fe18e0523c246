"""The registrar, the paper's trusted third party.

- `summing`   the summing service of loads
"""
