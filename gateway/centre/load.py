"""The load of a set of homes: the sum of their ciphertexts less both parties' halves of their nonces."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.chain import share
from gateway.chain.keys import advance
from gateway.errors import Unavailable
from gateway.provider.grants import own_grants
from gateway.provider.identity import Identity
from gateway.provider.load import Member, Window, locate
from gateway.stream.chunks import ChainFollower


async def load(homes: Sequence[Member], identity: Identity, window: Window, service_sum: int) -> int:
    """The load monitoring centre's result: the sum of the lane over all homes of the set, in the lane's own
    integers. NotGranted and Unavailable as for the summing service; Refused for an invalid chunk."""
    c, halves = [], []
    for home in homes:
        held = await own_grants(home.reader, identity, "load")
        own = next((one for one in held if one.grant.id == home.grant), None)
        j, _ = locate(home, own, window)
        assert own is not None
        head, bounds = home.reader.head, own.grant.window(j)
        if head is None or head.next_unit < bounds[1]:
            raise Unavailable(f"stream {home.stream.hex()} is not sealed until the end of this window yet")
        follower = ChainFollower(home.reader.descriptor, home.reader.marks(head))
        c.append(int((await home.reader.sums(bounds, [window.lane], follower))[0, 0]))
        halves.append(share.centre_half(advance(own.k_0, j), window.lane))
    return share.load(c, halves, service_sum)
