"""The vectors of keys, keystream, sealing, nonces and tokens: PROTOCOL.md followed step by step."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tests.vectors.plain import MASK, be64, chacha20_block, h, mac, word

LANES = ("import", "export", "power", "count")
_FORM = "Bytes in hex; u64 as 16 hex digits, most significant first; other numbers in decimal."

Run = tuple[int, int, int]  # incarnation, first unit, end
Cases = list[dict[str, Any]]


def draw(label: str, size: int = 32) -> bytes:
    """Bytes that look random and are the same each time."""
    return b"".join(h(f"{label} {i}".encode()) for i in range(-(-size // 32)))[:size]


def hex64(value: int) -> str:
    return f"{value & MASK:016x}"


def described(about: str, **content: Any) -> dict[str, Any]:
    return {"about": f"{about} {_FORM}", **content}


# Keys


def k_inc(root: bytes, stream: bytes, incarnation: int) -> bytes:
    return mac(root, b"gw1/incarnation" + stream + be64(incarnation))


def link_key(inc: bytes, n: int, lane: str) -> bytes:
    return mac(inc, b"gw1/link" + be64(n) + lane.encode())


def block_key(k_0: bytes, m: int) -> bytes:
    for _ in range(m):
        k_0 = mac(k_0, b"gw1/next")
    return k_0


def tokens_key(k_m: bytes, incarnation: int, cut: bytes = b"") -> bytes:
    return mac(k_m, b"gw1/tokens" + be64(incarnation) + cut)


def openings_key(k_m: bytes, incarnation: int, cut: bytes = b"") -> bytes:
    return mac(k_m, b"gw1/openings" + be64(incarnation) + cut)


def keys() -> dict[str, Any]:
    root, stream = draw("root"), draw("stream", 16)
    links: Cases = []
    for incarnation in (0, 1, 0x0123456789ABCDEF, MASK):
        inc = k_inc(root, stream, incarnation)
        links += [
            {
                "incarnation": hex64(incarnation),
                "k_inc": inc.hex(),
                "n": hex64(n),
                "lane": lane,
                "key": link_key(inc, n, lane).hex(),
            }
            for n, lane in zip((0, 1, 492_000, MASK), LANES, strict=True)
        ]
    k_0 = draw("k_0")
    chain = [
        {
            "m": m,
            "k_m": (k_m := block_key(k_0, m)).hex(),
            "incarnation": hex64(incarnation),
            "tokens_key": tokens_key(k_m, incarnation).hex(),
            "openings_key": openings_key(k_m, incarnation).hex(),
        }
        for m, incarnation in ((0, 0), (0, 1), (1, 1), (2, 0x0123456789ABCDEF), (3, MASK), (35, 7), (1000, 8))
    ]
    return described(
        "root -> K_inc -> K(n, lane), and a grant's K_0 -> K_m -> the keys of S(m, incarnation) "
        "and O(m, incarnation).",
        root=root.hex(),
        stream=stream.hex(),
        links=links,
        k_0=k_0.hex(),
        chain=chain,
    )


# Keystream, sealing, nonces


def keystream() -> dict[str, Any]:
    cases: Cases = []
    for link_units, places in ((1, (0, 1)), (7, range(8)), (3600, (0, 1, 7, 8, 9, 3599, 3600))):
        key = draw(f"link {link_units}")
        blocks = (chacha20_block(key, counter, bytes(12)) for counter in range(link_units // 8 + 1))
        stream = b"".join(blocks)[: 8 * (link_units + 1)]
        cases.append(
            {
                "key": key.hex(),
                "link_units": link_units,
                "sha256": h(stream).hex(),
                "words": {str(p): hex64(word(key, p)) for p in places},
            }
        )
    key = draw("the longest link")
    last = {str(p): hex64(word(key, p)) for p in (0, 2**19, 2**20 - 1, 2**20)}
    cases.append({"key": key.hex(), "link_units": 2**20, "words": last})
    return described(
        "W[0..link_units] of a link's key: ChaCha20, nonce 0, read as little-endian u64; sha256 is that of "
        "all its bytes.",
        cases=cases,
    )


class Chain:
    """One stream's blinding, unit by unit."""

    def __init__(self, root: bytes, stream: bytes, link_units: int, runs: list[Run]) -> None:
        self.root, self.stream, self.link_units, self.runs = root, stream, link_units, runs

    def r(self, unit: int, lane: str) -> int:
        """W[p] - W[p+1] of one unit."""
        incarnation = next(run[0] for run in self.runs if run[1] <= unit < run[2])
        n, p = divmod(unit, self.link_units)
        key = link_key(k_inc(self.root, self.stream, incarnation), n, lane)
        return (word(key, p) - word(key, p + 1)) & MASK

    def nonce(self, a: int, b: int, lane: str) -> int:
        """R[a, b), as the sum over its units."""
        return sum(self.r(unit, lane) for unit in range(a, b)) & MASK

    def seal(self, first: int, d: list[int], lane: str) -> list[int]:
        return [(value + self.r(unit, lane)) & MASK for unit, value in enumerate(d, first)]

    def inputs(self) -> dict[str, Any]:
        return {
            "root": self.root.hex(),
            "stream": self.stream.hex(),
            "link_units": self.link_units,
            "runs": [[hex64(run[0]), run[1], run[2]] for run in self.runs],
        }


def begin(label: str, link_units: int, runs: list[Run]) -> Chain:
    return Chain(draw(f"{label} root"), draw(f"{label} stream", 16), link_units, runs)


def seal() -> dict[str, Any]:
    cases: Cases = []
    for about, lane, link_units, runs, d in (
        ("inside one link", "import", 16, [(1, 32, 40)], [0, 1, 2, 3, 5, 8, 13, 21]),
        ("one unit in a link", "count", 1, [(1, 5, 9)], [1, 0, 1, 1]),
        ("across a link's border", "export", 4, [(1, 4, 14)], list(range(100, 110))),
        ("a restart within a link", "power", 8, [(1, 8, 11), (2, 11, 13), (MASK, 13, 18)], [-5, 7] * 5),
        ("negative values and wrap-around", "power", 8, [(3, 0, 6)], [-1, -(2**63), 2**63 - 1, 1, -1, 0]),
    ):
        chain = begin(about, link_units, runs)
        first, end = runs[0][1], runs[-1][2]
        c = chain.seal(first, d, lane)
        nonce = chain.nonce(first, end, lane)
        cases.append(
            {
                "case": about,
                **chain.inputs(),
                "lane": lane,
                "first": first,
                "d": [hex64(value) for value in d],
                "c": [hex64(value) for value in c],
                "sum_c": hex64(sum(c)),
                "r": hex64(nonce),
                "sum_d": hex64(sum(c) - nonce),
            }
        )
        assert (sum(c) - nonce - sum(d)) & MASK == 0
    return described(
        "c = d + W[p] - W[p+1]; the sum of d is that of c less R of the whole window.", cases=cases
    )


def nonce() -> dict[str, Any]:
    cases: Cases = []
    for about, link_units, runs, boundaries in (
        ("every unit its own window", 4, [(1, 8, 14)], list(range(8, 15))),
        ("windows that meet and cross links", 4, [(1, 8, 32)], [8, 12, 15, 16, 17, 31, 32]),
        ("windows that cross incarnations", 8, [(1, 8, 11), (2, 11, 30), (7, 30, 31)], [8, 10, 12, 29, 31]),
        ("windows inside a longer run", 8, [(1, 0, 100)], [50, 60, 70]),
        ("an empty window: a date that a zone skipped", 8, [(1, 0, 100)], [50, 60, 60, 70]),
    ):
        chain = begin(about, link_units, runs)
        r = {lane: [hex64(chain.nonce(a, b, lane)) for a, b in pairwise(boundaries)] for lane in LANES}
        cases.append({"case": about, **chain.inputs(), "boundaries": boundaries, "r": r})
    return described("R[a, b) of consecutive windows, added up unit by unit.", cases=cases)


# Tokens

BLOCK = 1024
Sealed = list[tuple[int, int]]  # from which window on, in which incarnation


def i_of(sealed: Sealed, j: int) -> int:
    """The incarnation that sealed window j's last unit."""
    return [incarnation for window, incarnation in sealed if window <= j][-1]


def masks(k_0: bytes, j: int, incarnation: int, width: int, cut: bytes = b"") -> list[int]:
    """The words of S(m, i) at window j's place; `cut` is how a calendar window or a bill was cut."""
    m, place = divmod(j, BLOCK)
    key = tokens_key(block_key(k_0, m), incarnation, cut)
    return [word(key, place * width + at) for at in range(width)]


def hidden(k_0: bytes, j: int, incarnation: int, p: list[int], cut: bytes = b"") -> list[int]:
    """Token j, as words."""
    hiding = masks(k_0, j, incarnation, len(p), cut)
    return [(value + mask) & MASK for value, mask in zip(p, hiding, strict=True)]


def commitment(k_0: bytes, j: int, incarnation: int, p: list[int], cut: bytes = b"") -> tuple[bytes, bytes]:
    """The opening of window j and c_j, its commitment to what token j holds."""
    m, place = divmod(j, BLOCK)
    key = openings_key(block_key(k_0, m), incarnation, cut)
    opening = words([word(key, place * 4 + at) for at in range(4)])
    return opening, h(b"gw1/commitment" + opening + words(p))


def commitment_of(each: list[bytes]) -> bytes:
    """Of a bundle, by c_j of its windows."""
    return h(b"gw1/commitments" + b"".join(each))


def sealed_of(runs: list[Run], first: int, cuts: list[int]) -> Sealed:
    """In which incarnation the last units of windows from number `first` on, which meet at `cuts`, were
    sealed."""
    sealed: Sealed = []
    for j, b in enumerate(cuts[1:], first):
        (incarnation,) = (run[0] for run in runs if run[1] < b <= run[2])
        if not sealed or sealed[-1][1] != incarnation:
            sealed.append((j, incarnation))
    return sealed


def words(values: list[int]) -> bytes:
    """u64, little-endian."""
    return b"".join(be64(value & MASK)[::-1] for value in values)


def token() -> dict[str, Any]:
    cases: Cases = []
    extremes = [0, 1, MASK, 2**63, 2**63 - 1, 3, 5]
    for about, lanes, first, count, sealed in (
        ("one lane", 1, 0, 3, [(0, 1)]),
        ("the border of a block", 1, 1021, 6, [(1021, 9)]),
        (
            "the border of a block, three lanes, a ChaCha20 block that holds parts of windows",
            3,
            1022,
            4,
            [(1022, 9)],
        ),
        ("incarnations within a bundle", 2, 5, 9, [(5, 3), (7, 2), (8, MASK), (12, 0)]),
        ("an incarnation that begins with a block", 4, 2047, 3, [(2047, 41), (2048, 42)]),
        ("late blocks", 2, 1024 * 35 - 1, 2, [(1024 * 35 - 1, 2**32)]),
    ):
        k_0 = draw(f"token {about}")
        p = [[extremes[(j + 3 * at) % 7] for at in range(lanes)] for j in range(first, first + count)]
        hiding = [masks(k_0, j, i_of(sealed, j), lanes) for j in range(first, first + count)]
        tokens = [hidden(k_0, j, i_of(sealed, j), row) for j, row in enumerate(p, first)]
        committed = [commitment(k_0, j, i_of(sealed, j), row) for j, row in enumerate(p, first)]
        cases.append(
            {
                "case": about,
                "k_0": k_0.hex(),
                "first_window": first,
                "sealed": [[window, hex64(incarnation)] for window, incarnation in sealed],
                "p": [[hex64(value) for value in row] for row in p],
                "masks": [[hex64(value) for value in row] for row in hiding],
                "tokens": [[hex64(value) for value in row] for row in tokens],
                "words": words([value for row in tokens for value in row]).hex(),
                "openings": [opening.hex() for opening, _ in committed],
                "commitments": [one.hex() for _, one in committed],
                "commitment": commitment_of([one for _, one in committed]).hex(),
            }
        )
    return described(
        "token_j = P + the words of S(m, i) from word (j mod 1024) * |P| on, m = j // 1024; `sealed` says "
        "from which window on i is which incarnation; `words` is entry 4 of the bundle; `commitment`, entry "
        "8, is of c_j in `commitments`, each of its opening and P.",
        cases=cases,
    )
