"""What runs off the gateway: a provider's identity, and its reading of what households granted it.

In the order in which to read it:

- `keys`         who the provider is: a folder with its private keys and its card
- `fetch`        objects of a bucket, several at a time, in order
- `chain_check`  what makes a chunk right, alone and after the one before
- `pages`        what makes a day's or a month's page right, alone and beside its neighbours
- `seen`         the head that was seen last, so that a store cannot go back
- `reader`       a stream in an untrusted store: descriptor, head, verified chunks, sums of ciphertexts
- `grants`       what was granted to this provider
- `tokens`       the nonces that a grant's tokens hold
- `ask`          a question, held against the grants: settled, or refused with what they do open
- `sums`         all of it together: sums of readings, window by window
- `follow`       the same, waiting for windows to close
- `bill`         a tariff's bills, from ciphertexts and one token a period
- `load`         loads of many homes: the summing service's rule, the load monitoring centre's sum
- `raw`          every unit of the links whose keys were granted
- `page_audit`   every page against what it was made of
- `verify`       everything of a stream, every bad object named
"""
