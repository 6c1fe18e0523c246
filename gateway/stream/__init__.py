"""A stream in a store that nobody trusts, read and checked without a key.

The daemon's take-over, the household's history, a provider, the registrar and the centre all read streams
with this room. An invalid object is Refused with a sentence that names it. In reading order:

- `times`        units as moments
- `fetch`        objects of a bucket, several at a time, in order
- `chunks`       checks of a chunk, alone and after the one before
- `pages`        checks of a day's or a month's page, alone and beside its neighbours
- `seen`         the head that was seen last, so that a store cannot go back
- `reader`       descriptor, head, verified chunks, sums of ciphertexts
- `grants`       checks of a grant and its revocation
- `tokens`       checks of a bundle of tokens
- `bundles`      a grant's bundles, read in order
- `page_audit`   every page against what it was made of
- `prices`       price series, which of their prices are in force, and a tariff of them
- `verify`       everything of a stream, every invalid object named
"""
