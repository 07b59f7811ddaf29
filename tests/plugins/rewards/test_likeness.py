from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import Abstain, ConfigError, Failed
from rlaif_rewards.likeness import ABSTAINS, EXACT, Clustered, Likeness

SAYS = """
def relation(premise, hypothesis):
    a, b = premise.split()[1:], hypothesis.split()[1:]
    return "entailment" if set(b) <= set(a) else "neutral"
"""


def labels(likeness: Likeness, *answers: str) -> list[int]:
    (found,) = likeness.clusters()([("question", answers)])
    assert isinstance(found, Clustered)
    return found.labels


def test_spelling_and_numbers() -> None:
    assert labels(EXACT, "Paris", "paris.", "Rome", "72", "72.0") == [0, 0, 1, 2, 2]


def test_admissions_are_alike_and_like_nothing_else() -> None:
    assert labels(EXACT, "I don't know.", "Paris", "I am not sure.") == [ABSTAINS, 0, ABSTAINS]


def test_what_says_nothing_is_like_nothing() -> None:
    assert labels(EXACT, "", " ", "Paris", "\u200b") == [1, 2, 0, 3]
    tagged = Likeness(take="tag")
    assert labels(tagged, "<answer>Paris</answer> yes", "<answer>paris</answer> no", "Paris", "Paris") == [0, 0, 1, 2]


def test_entailment_both_ways(written) -> None:
    likeness = Likeness(alike="entailment", entailment=written(SAYS))
    assert labels(likeness, "red big", "big red", "red", "blue") == [0, 0, 1, 2]


def test_entailment_that_is_not_transitive_is_closed_whatever_the_order(written) -> None:
    relate = written(
        "def relation(premise, hypothesis):\n"
        "    near = abs(int(premise.split()[1]) - int(hypothesis.split()[1])) <= 1\n"
        "    return 'entailment' if near else 'contradiction'"
    )
    likeness = Likeness(alike="entailment", entailment=relate)
    assert labels(likeness, "1", "2", "3") == labels(likeness, "1", "3", "2") == [0, 0, 0]
    assert labels(likeness, "1", "3", "5", "4") == [0, 1, 1, 1]


def test_a_broken_instrument_leaves_no_cluster(judging) -> None:
    likeness = Likeness(alike="entailment", entailment="judge")
    assert likeness.clusters(judging(lambda question: Failed("outage")))([("?", ["a", "b"])]) == [Failed("outage")]
    assert likeness.clusters(judging(lambda question: Abstain("unsure")))([("?", ["a", "b"])]) == [Abstain("unsure")]
    (alone,) = likeness.clusters(judging(lambda question: Failed("outage")))([("?", ["a", "A."])])
    assert isinstance(alone, Failed)


def test_embeddings(classifier) -> None:
    folder = classifier("bert")
    assert labels(Likeness(alike="embedding", embedder=folder, near=-1.0), "yes", "no", "red") == [0, 0, 0]
    assert labels(Likeness(alike="embedding", embedder=folder, near=0.9999), "yes", "yes", "red") == [0, 0, 1]


def test_keys(written) -> None:
    likeness = Likeness(alike=written("def key(text):\n    return None if '?' in text else len(text)"))
    assert labels(likeness, "aa", "bb", "c", "?", "I don't know.") == [0, 0, 1, ABSTAINS, 3]


@given(
    st.lists(st.sampled_from(["a", "b", "c", "I don't know."]), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_the_order_of_answers_does_not_matter(answers: list[str], random) -> None:
    found = labels(EXACT, *answers)
    order = list(range(len(answers)))
    random.shuffle(order)
    moved = labels(EXACT, *[answers[place] for place in order])
    for one in range(len(order)):
        for other in range(len(order)):
            assert (moved[one] == moved[other]) == (found[order[one]] == found[order[other]])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"alike": "meaning"}, "alike is 'meaning'"),
        ({"alike": "embedding"}, "needs a model"),
        ({"entails": 0.0}, "a probability above 0"),
        ({"near": 2.0}, "and a cosine are due"),
    ],
)
def test_options_that_make_no_sense(options, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Likeness(**options)


def test_entailment_needs_an_instrument() -> None:
    with pytest.raises(ConfigError, match="entailment is missing"):
        Likeness(alike="entailment").clusters()
