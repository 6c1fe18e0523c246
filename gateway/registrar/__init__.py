"""The registrar, the paper's trusted third party.

- `storage`   storage credentials scoped to prefixes: policies and sessions
- `summing`   the summing service of loads
"""
