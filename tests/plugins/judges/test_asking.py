from __future__ import annotations

import pytest

from rlaif_core import FeedbackError
from rlaif_judges.asking import Message, Reply, Request

SAID = (Message(role="user", content="Which?"),)


@pytest.mark.parametrize("options", [("A", "A"), ("A", " A"), ("A", ""), ("A", "\n")])
def test_options_that_cannot_be_told_apart_are_refused(options: tuple[str, ...]) -> None:
    with pytest.raises(FeedbackError, match="blank or alike"):
        Request(messages=SAID, options=options)


def test_key_changes_with_everything_that_the_reply_depends_on() -> None:
    request, identity = Request(messages=SAID, options=("A", "B")), {"model": "m"}
    others = [
        Request(messages=SAID, options=("B", "A")),
        Request(messages=SAID, options=("A", "B"), seed=1),
        Request(messages=SAID, options=("A", "B"), temperature=1.0),
        Request(messages=SAID, options=("A", "B"), max_tokens=1),
        Request(messages=(Message(role="system", content="Which?"),), options=("A", "B")),
    ]
    keys = {each.key(identity) for each in [request, *others]} | {request.key({"model": "n"})}
    assert len(keys) == len(others) + 2
    assert request.key({"model": "m"}) in keys


@pytest.mark.parametrize("temperature", [0, 0.0, -0.0, False])
def test_requests_that_are_equal_have_the_same_key(temperature: float) -> None:
    one, other = Request(messages=SAID), Request(messages=SAID, temperature=temperature)
    assert one == other
    assert one.key({}) == other.key({})


@pytest.mark.parametrize("wrong", [{"mass": float("nan")}, {"cost": -1.0}, {"probabilities": (0.5, 0.6)}])
def test_a_reply_holds_no_number_that_is_none(wrong: dict[str, object]) -> None:
    with pytest.raises(FeedbackError):
        Reply(text="A", **wrong)  # type: ignore[arg-type]
