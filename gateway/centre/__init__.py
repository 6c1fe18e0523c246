"""The load monitoring centre: sums over many homes, never over one.

- `load`   the sum of a lane over a set of homes
"""
