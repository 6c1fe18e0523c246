"""The load of a set of homes: the sum of their ciphertexts and tokens, less both parties' words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.chain import share
from gateway.errors import Refused, Unavailable
from gateway.provider.grants import OwnGrant, own_grants
from gateway.provider.identity import Identity
from gateway.provider.load import Member, Window, locate, own_word, published
from gateway.stream.bundles import BundleReader
from gateway.stream.chunks import ChainFollower
from gateway.stream.grants import grants


async def load(homes: Sequence[Member], identity: Identity, window: Window, service_sum: int) -> int:
    """The load monitoring centre's result: the sum of the lane over all homes of the set, in the lane's own
    integers. NotGranted and Unavailable as for the summing service; Refused for an invalid chunk."""
    c, tokens, words = [], [], []
    for home in homes:
        own = await _own_grant(home, identity)
        j, lane = await locate(home, own, window)
        assert own is not None
        head, bounds = home.reader.head, own.windows.window(j)
        if head is None or head.next_unit < bounds[1]:
            raise Unavailable(f"stream {home.stream.hex()} is not sealed until the end of this window yet")
        part = await published(home, own, j)
        follower = ChainFollower(home.reader.descriptor, home.reader.marks(head))
        c.append(int((await home.reader.sums(bounds, [window.lane], follower))[0, 0]))
        tokens.append(int(part.bundle.table(own.grant.words)[j - part.bundle.first_window, lane]))
        words.append(own_word(own, part, lane))
    return share.load(c, tokens, words, service_sum)


async def _own_grant(home: Member, identity: Identity) -> OwnGrant | None:
    """The centre's grant, with the bundles that are published with the summing service's; None where there is
    none to the centre. Refused where the two are not of the same windows and lanes."""
    held = await own_grants(home.reader, identity, "load")
    own = next((one for one in held if one.grant.id == home.grant), None)
    async for key, _, partner in grants(home.reader):
        if own is not None and partner.partner == own.grant.id:
            ours, theirs = ((one.lanes, one.granularity, one.first) for one in (own.grant, partner))
            if ours != theirs:
                raise Refused(
                    f"{key} is not of the same windows and lanes as {home.grant.hex()}, its partner"
                )
            return replace(own, bundles=BundleReader(home.reader, partner))
    return own
