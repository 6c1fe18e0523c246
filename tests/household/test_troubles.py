"""What is wrong, in sentences, each with where to go."""

from __future__ import annotations

import pytest

from gateway.control.documents import DoubtStatus, RegistrationStatus, StoreStatus
from gateway.errors import Unavailable
from gateway.household.troubles import troubles, unreachable
from tests.support.pages import meter, status

STORE = StoreStatus(url="s3://a/b", answered_ms=None, error="the key is not accepted", waiting=3)
DOUBT = DoubtStatus(meter="main", stream="ab" * 16, noticed_ms=1, from_ms=1, until_ms=None, windows_waiting=2)
REGISTRATION = RegistrationStatus(
    url="https://r",
    user="u",
    registrar="R",
    registrar_kid="00" * 16,
    assurance="tpm",
    valid_until_ms=1,
    error="it refuses",
)


def test_nothing_is_wrong_with_a_sound_gateway() -> None:
    assert troubles(status()) == []


@pytest.mark.parametrize(
    ("changed", "sentence", "path"),
    [
        ({"clock_trusted": False}, "clock is not set yet", "/doctor"),
        ({"clock_waits": "it jumped"}, "The clock is not believed: it jumped.", "/doctor"),
        ({"doubts": (DOUBT,)}, "Another copy of the gateway’s records", "/doctor"),
        ({"meters": (meter("main", error="no answer."),)}, "main cannot be read: no answer.", "/meters"),
        (
            {"meters": (meter("main", held="it fell (since noon)"),)},
            "Readings of main are held until you decide: it fell (since noon).",
            "/meters",
        ),
        ({"meters": (meter("sun", series=True, error="late"),)}, "No values of sun arrive: late.", "/meters"),
        (
            {"meters": (meter("main", sealed_ahead="nothing is sealed until noon"),)},
            "Nothing is sealed",
            "/doctor",
        ),
        ({"store": STORE}, "3 objects wait for it: the key is not accepted.", "/doctor"),
        ({"store": STORE.model_copy(update={"waiting": 1})}, "1 object waits for it", "/doctor"),
        ({"faults": ("grant 7 is damaged",)}, "Grant 7 is damaged.", "/doctor"),
        ({"registration": REGISTRATION}, "The registrar does not answer: it refuses.", "/doctor"),
    ],
)
def test_each_trouble_is_a_sentence_with_a_way_out(
    changed: dict[str, object], sentence: str, path: str
) -> None:
    (found,) = troubles(status(**changed))
    assert sentence in found.sentence
    assert found.path == path


def test_what_stops_the_most_comes_first() -> None:
    everything = status(
        clock_trusted=False, meters=(meter("main", error="no answer"),), store=STORE, faults=("one",)
    )
    assert [one.sentence.split()[0] for one in troubles(everything)] == ["The", "main", "The", "One."]


def test_a_gateway_that_does_not_answer_is_a_trouble() -> None:
    assert unreachable(Unavailable("no gateway answers")).sentence == (
        "The gateway does not answer: no gateway answers."
    )


def test_a_held_meter_is_named_once() -> None:
    held = status(meters=(meter("main", held="meter main: its import register fell"),))
    assert troubles(held)[0].sentence == (
        "Readings of main are held until you decide: its import register fell."
    )
