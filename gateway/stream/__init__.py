"""A stream in a store that nobody trusts, read and checked without a key.

The daemon's take-over, the household's history, a provider, the registrar and the centre all read by
this room. What does not hold is Refused with a sentence that names the object. In reading order:

- `times`        units as moments
- `fetch`        objects of a bucket, several at a time, in order
- `chunks`       what makes a chunk right, alone and after the one before
- `pages`        what makes a day's or a month's page right, alone and beside its neighbours
- `seen`         the head that was seen last, so that a store cannot go back
- `reader`       descriptor, head, verified chunks, sums of ciphertexts
- `grants`       a grant and its revocation
- `tokens`       a bundle of tokens
- `page_audit`   every page against what it was made of
- `verify`       everything of a stream, every bad object named
"""
