from __future__ import annotations

import math
from statistics import fmean, pstdev

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rlaif_core import Abstain, ConfigError, Failed, Score
from rlaif_core.shaping import Bounded, Clip, LengthFree, Scale, Standardise, merged, sigmoid
from rlaif_core.testing import make_rollouts

scores = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12)
ANSWERS = [("yes", "no no no no"), ("red and green", "maybe it is blue or red", "one")]


def nobody(answers):
    raise AssertionError("it asked the source again")


def shaped(shape, values, rollouts=None, ask=nobody):
    rollouts = rollouts or make_rollouts([tuple("x" * (n + 1) for n in range(len(values)))])
    return list(shape(dict(enumerate(values)), rollouts, ask).values())


def test_scale_and_clip_say_what_they_do():
    assert shaped(Scale(by=2.0, plus=1.0), [1.0, -3.0]) == [3.0, -5.0]
    assert shaped(Clip(low=-1.0, high=2.0), [5.0, 0.5, -7.0]) == [2.0, 0.5, -1.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Clip(low=1.0, high=1.0), "low must be less"),
        (lambda: Clip(low=math.nan, high=1.0), "low must be less"),
        (lambda: Scale(by=math.inf), "by is inf, but must be a finite number"),
        (lambda: Standardise(clip=-1.0), "clip must be 0"),
        (lambda: Standardise(memory=1.5), "memory 0 to 1"),
        (lambda: Bounded(temperature=0.0), "temperature is 0, but must be above 0"),
        (lambda: Bounded(reference="column"), "'column' names a column"),
        (lambda: Bounded(reference="first", column="chosen"), "'column' names a column"),
        (lambda: Bounded(reference=math.nan), "reference is nan"),
        (lambda: LengthFree(memory=-0.1), "from 0 to 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@given(st.lists(scores, min_size=1, max_size=4))
def test_running_mean_and_variance_are_those_of_everything_seen(batches):
    known = (0.0, 0.0, 0.0)
    for batch in batches:
        known = merged(known, batch)
    everything = [value for batch in batches for value in batch]
    assert known[0] == len(everything)
    assert known[1] == pytest.approx(fmean(everything), abs=1e-9)
    assert math.sqrt(known[2] / known[0]) == pytest.approx(pstdev(everything), abs=1e-6)


def test_a_large_constant_costs_no_digits():
    count, _, squares = merged(merged((0.0, 0.0, 0.0), [1e9 + 1, 1e9 + 2]), [1e9 + 3, 1e9 + 4])
    assert squares / count == pytest.approx(1.25)


def test_standardised_scores_are_z_scores_of_what_was_seen_so_far():
    shape = Standardise(clip=0.0)
    first = shaped(shape, [1.0, 3.0])
    assert first == [-1.0, 1.0]
    second = shaped(shape, [8.0])
    assert second == [pytest.approx((8 - 4) / pstdev([1, 3, 8]))]


@given(scores, st.floats(0.1, 100), st.floats(-100, 100))
def test_standardised_scores_know_neither_unit_nor_origin(values, unit, origin):
    assume(pstdev(values) > 1e-3)
    plain, moved = (shaped(Standardise(), its) for its in (values, [unit * value + origin for value in values]))
    assert moved == pytest.approx(plain, abs=1e-6)


def test_a_constant_score_is_standardised_to_0():
    assert shaped(Standardise(), [0.1] * 3) == [0.0] * 3


def test_an_outlier_is_clipped_and_forgotten_at_the_pace_asked_for():
    shape = Standardise(clip=2.0, memory=0.0)
    assert max(shaped(shape, [0.0] * 50 + [1e6])) == 2.0
    assert shaped(shape, [1.0, 3.0]) == [-1.0, 1.0]


@given(scores)
def test_bounded_scores_lie_between_0_and_1_and_keep_their_order(values):
    said = shaped(Bounded(reference=0.0), values)
    assert all(0 <= value <= 1 for value in said)
    ordered = [value for _, value in sorted(zip(values, said, strict=True))]
    assert ordered == sorted(ordered)


@pytest.mark.parametrize("reference", ["start", "first"])
@given(values=st.lists(st.floats(-5, 5), min_size=5, max_size=5), constant=st.floats(-1e3, 1e3))
def test_bounded_scores_do_not_see_a_constant(reference, values, constant):
    rollouts = make_rollouts(ANSWERS)
    plain = shaped(Bounded(reference=reference), values, rollouts)
    assert shaped(Bounded(reference=reference), [value + constant for value in values], rollouts) == pytest.approx(
        plain, abs=1e-9
    )


def test_the_first_answers_to_a_prompt_stay_its_reference():
    shape, rollouts = Bounded(reference="first"), make_rollouts(ANSWERS)
    assert shaped(shape, [1.0, 1.0, 5.0, 5.0, 5.0], rollouts) == [0.5] * 5
    later = shaped(shape, [2.0, 1.0, 5.0, 5.0, 4.0], rollouts)
    assert later == [pytest.approx(sigmoid(1.0)), 0.5, 0.5, 0.5, pytest.approx(sigmoid(-1.0))]


def test_the_reference_of_the_start_is_the_mean_of_the_first_batch_that_scored():
    shape, rollouts = Bounded(reference="start", temperature=2.0), make_rollouts(ANSWERS)
    assert shape({}, rollouts, nobody) == {}
    assert shaped(shape, [2.0, 4.0]) == [pytest.approx(sigmoid(-0.5)), pytest.approx(sigmoid(0.5))]
    assert shaped(shape, [3.0, 3.0]) == [0.5, 0.5]


def with_references():
    return make_rollouts([("yes", "no"), ("red", "blue")], meta={"best": "green"})


def test_the_answer_in_a_column_is_asked_about_once_and_scores_one_half():
    asked = []

    def ask(answers):
        asked.extend((prompt.id, text) for prompt, text in answers)
        return [Score(2.0), Score(-1.0)]

    shape = Bounded(reference="column", column="best")
    assert shaped(shape, [2.0, 3.0, -1.0, -2.0], with_references(), ask) == [
        0.5,
        pytest.approx(sigmoid(1.0)),
        0.5,
        pytest.approx(sigmoid(-1.0)),
    ]
    assert shaped(shape, [2.0, 3.0, -1.0, -2.0], with_references(), lambda its: list(its))[0] == 0.5
    assert asked == [("prompt-0", "green"), ("prompt-1", "green")]


def test_without_a_score_of_the_reference_there_is_none_of_the_answer_and_it_is_asked_again():
    shape = Bounded(reference="column", column="best")
    said = shaped(shape, [1.0] * 4, with_references(), lambda its: [Failed("outage"), Abstain("cannot tell")])
    assert [type(it) for it in said] == [Failed, Failed, Abstain, Abstain]
    assert said[0].reason == "of the answer to compare with: outage"
    assert shaped(shape, [1.0] * 4, with_references(), lambda its: [Score(1.0)] * len(its)) == [0.5] * 4


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"no text in column 'chosen'\. Columns: best"):
        shaped(Bounded(reference="column", column="chosen"), [1.0] * 4, with_references())


@pytest.mark.parametrize("unit", ["tokens", "words", "characters"])
@pytest.mark.parametrize("memory", [0.0, 0.9])
@given(values=st.lists(st.floats(-5, 5), min_size=5, max_size=5), pay=st.floats(-10, 10))
def test_what_a_source_pays_by_length_makes_no_difference_within_a_group(unit, memory, values, pay):
    rollouts = make_rollouts(ANSWERS)
    lengths = {
        "tokens": rollouts.mask.sum(1).tolist(),
        "words": [len(text.split()) for text in rollouts.completions],
        "characters": [len(text) for text in rollouts.completions],
    }[unit]
    paid = [value + pay * length for value, length in zip(values, lengths, strict=True)]
    one, other = LengthFree(unit, memory=memory), LengthFree(unit, memory=memory)
    for _ in range(2):
        plain, biased = shaped(one, values, rollouts), shaped(other, paid, rollouts)
        for group in (slice(0, 2), slice(2, 5)):
            differences = [[value - its[group][0] for value in its[group]] for its in (plain, biased)]
            assert differences[0] == pytest.approx(differences[1], abs=1e-7)
            assert fmean(biased[group]) == pytest.approx(fmean(paid[group]), abs=1e-7)


def test_a_score_that_is_length_and_nothing_else_becomes_flat():
    rollouts = make_rollouts([("a", "bb", "cccc"), ("dd", "eeeeee")])
    said = shaped(LengthFree("characters"), [1.0, 2.0, 4.0, 2.0, 6.0], rollouts)
    assert said == pytest.approx([7 / 3] * 3 + [4.0] * 2)


def test_between_prompts_length_may_matter_unless_the_whole_batch_is_compared():
    rollouts = make_rollouts([("a", "b"), ("cccc", "dddd")])
    values = [1.0, 1.5, 4.0, 4.5]
    assert shaped(LengthFree("characters"), values, rollouts) == values
    flat = shaped(LengthFree("characters", within="batch"), values, rollouts)
    assert flat == pytest.approx([2.5, 3.0, 2.5, 3.0])


@given(st.floats(-1e300, 1e300))
def test_the_sigmoid_neither_overflows_nor_leaves_its_range(x):
    assert 0 <= sigmoid(x) <= 1
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1)
