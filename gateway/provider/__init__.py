"""The provider: its identity, and the data that its grants open.

In the order in which to read it:

- `identity`   a folder with its private keys and its card
- `grants`     the grants to this provider
- `tokens`     the words in a grant's tokens
- `query`      a query, resolved against the grants, or refused with what they do open
- `sums`       all of it together: sums of readings, window by window
- `follow`     the same, waiting for windows to close
- `bill`       a tariff's bills, from ciphertexts and one token a period
- `invoice`    a bill's other lines: standing charges, taxes, rounding
- `raw`        every unit of the links whose keys were granted
- `load`       what the two parties to a load over many homes share
- `homes`      the files by which they agree on the homes and the sums
- `exports/`   sums in the formats that markets exchange
- `prices`     price series, signed and published
- `openadr`    the same as OpenADR events
"""
