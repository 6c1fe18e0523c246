"""The mathematics of the scheme: PROTOCOL.md, name by name, over bytes, ints and numpy arrays.

Nothing here reads a file, a clock or a network. In reading order:

- `layout`   units, links and lanes: what is sealed
- `keys`     root -> K_inc -> K(n, lane), and a grant's own chain K_m
- `seal`     W, c = d + W[p] - W[p+1], and the nonce R[a, b) of any window
- `window`   granularities: whole units, calendar days and months
- `grant`    what the household decided, and how K_0 reaches the provider
- `windows`  the windows of a grant by number, where calendars were cut once and for all
- `token`    what opens one window for one grant
- `issue`    what a token holds, kind by kind
- `commitment`   by which a provider proves to others what its tokens hold
- `tariff`   prices as weights: a bill is a sum of price[w] * d[w]
- `share`    load shares: what two parties know of a nonce meets only in sums over homes
- `raw`      the link keys of a raw grant
- `page`     sums of ciphertexts by day and month
- `consent/` what grants and bills reveal together, exactly
"""
