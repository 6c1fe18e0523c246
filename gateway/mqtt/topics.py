"""The topics at a utility's broker: PROTOCOL.md, "MQTT". Kids and streams are in hexadecimal."""

from __future__ import annotations

_ROOT = "gw1"
PRICES = f"{_ROOT}/price/+"
"""A filter: the price series of every provider at the broker."""
CHUNKS = f"{_ROOT}/+/chunk/+"
"""A filter: the chunks of every gateway at the broker."""
_PRICE = f"{_ROOT}/price/"


def command(kid: str) -> str:
    """To a gateway: a signed command."""
    return f"{_ROOT}/{kid}/command"


def receipt(kid: str) -> str:
    """From a gateway: the signed receipt of a command."""
    return f"{_ROOT}/{kid}/receipt"


def chunk(kid: str, stream: str) -> str:
    """From a gateway: a chunk of a stream, as it lies in the store."""
    return f"{_ROOT}/{kid}/chunk/{stream}"


def is_chunk(topic: str) -> bool:
    """Whether a gateway's chunk comes at this topic."""
    match topic.split("/"):
        case [root, _, "chunk", _]:
            return root == _ROOT
    return False


def status(kid: str) -> str:
    """From a gateway: "online", or "offline" by its will; retained."""
    return f"{_ROOT}/{kid}/status"


def test(kid: str) -> str:
    """A gateway's messages to itself, which show that its rights are set."""
    return f"{_ROOT}/{kid}/test"


def price(provider: str) -> str:
    """From a provider to all gateways: a signed price series; the latest one is retained."""
    return f"{_PRICE}{provider}"


def is_price(topic: str) -> bool:
    """Whether a price series comes at this topic."""
    return topic.startswith(_PRICE)
