"""The provider: who it is, and what households granted it, opened.

In the order in which to read it:

- `identity`   a folder with its private keys and its card
- `grants`     what was granted to this provider
- `tokens`     the nonces that a grant's tokens hold
- `query`      a query, held against the grants: resolved, or refused with what they do open
- `sums`       all of it together: sums of readings, window by window
- `follow`     the same, waiting for windows to close
- `bill`       a tariff's bills, from ciphertexts and one token a period
- `raw`        every unit of the links whose keys were granted
- `load`       a load over many homes, as its two parties speak of it
"""
