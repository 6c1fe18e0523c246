"""What the tests of the household's brokers share."""

from __future__ import annotations

KID = "0123456789abcdef" * 2
