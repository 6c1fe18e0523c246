"""The load monitoring centre: many homes, seen only together.

- `load`   the sum of a lane over a set of homes
"""
