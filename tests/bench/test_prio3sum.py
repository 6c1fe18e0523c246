"""Our side of the comparison with Prio3Sum adds up to the truth, which it checks itself."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.chain import share
from tests.bench import prio3sum


def test_a_window_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prio3sum, "_HOMES", 3)
    assert prio3sum.window_s(2) > 0
    assert prio3sum.signatures_s() > 0


def test_a_wrong_load_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prio3sum, "_HOMES", 3)
    right = share.load
    monkeypatch.setattr(share, "load", lambda parts, service: right(parts, service) + np.int64(1))
    with pytest.raises(AssertionError, match="not the truth"):
        prio3sum.window_s(2)
