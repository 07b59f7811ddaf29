from __future__ import annotations

import pytest
import torch

from rlaif_core import Abstain, ConfigError, Failed, PluginError, RunConfig, Score
from rlaif_core.feedback import Scored
from rlaif_core.measure import measure
from rlaif_core.record import read_rollouts
from rlaif_core.run import run
from rlaif_core.shaped import Shaped, shapes
from rlaif_core.testing import FakePolicy, check_reward, make_experience, make_feedback, make_rollouts
from rlaif_core.types import Metrics


class Said:
    """A source that says what it was given, row by row."""

    def __init__(self, *outcomes):
        self.outcomes, self.seen = outcomes, []

    def score(self, rollouts):
        self.seen.append(rollouts.completions)
        return self.outcomes[: len(rollouts)]


class Lengths:
    def __init__(self):
        self.calls = 0

    def score(self, rollouts):
        self.calls += 1
        return [float(len(text)) for text in rollouts.completions]

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = state["calls"]


def recorded(prompts, answers):
    return FakePolicy().sampler(seed=0, step=0, group=1).recorded(prompts, answers)


def shaped(source, *tables):
    return Shaped(source, shapes(tables, "it"), recorded)


def test_scores_are_shaped_in_order_and_everything_else_is_passed_by():
    source = Said(Score(2.0, "good", 0.5), Abstain("cannot tell"), Failed("outage"), 4)
    said = shaped(source, {"kind": "scale", "by": 10.0}, {"kind": "clip", "low": 0.0, "high": 30.0}).score(
        make_rollouts()
    )
    assert said == [
        Score(20.0, "good", 0.5, unshaped=2.0),
        Abstain("cannot tell"),
        Failed("outage"),
        Score(30.0, unshaped=4.0),
    ]


def test_a_shape_is_a_good_source():
    check_reward(shaped(Lengths(), {"kind": "clip", "low": 2, "high": 20}, {"kind": "bounded", "reference": 9.0}))


def test_a_score_that_overflows_has_failed():
    said = shaped(Said(Score(1e30), Score(1.0)), {"kind": "scale", "by": 1e300}).score(make_rollouts(["yes", "no"]))
    assert isinstance(said[0], Failed)


def test_the_reference_answer_is_put_to_the_source_as_rollouts_of_its_own():
    source = Said(Score(3.0), Score(1.0))
    rollouts = make_rollouts([("yes please", "no")], meta={"best": "red"})
    said = shaped(source, {"kind": "bounded", "reference": "column", "column": "best"}).score(rollouts)
    assert source.seen == [("yes please", "no"), ("red",)]
    assert [round(its.value, 4) for its in said] == [0.5, 0.1192]


def test_a_source_that_scores_tokens_is_refused():
    class Tokens:
        def score(self, rollouts):
            return Scored(outcomes=[Score(0.0)] * len(rollouts), tokens=torch.zeros(rollouts.mask.shape))

    with pytest.raises(PluginError, match="it scores tokens, and a shape is for scores of whole answers; drop 'shape'"):
        shaped(Tokens(), {"kind": "scale"}).score(make_rollouts())


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([{"kind": "standardize"}], "it: there is no shape 'standardize'; did you mean 'standardise'?"),
        ([{"by": 2}], "it: there is no shape ''. Kinds: bounded, clip"),
        ([{"kind": "clip", "lo": 1}], "it: shape 'clip': unknown option 'lo'; did you mean 'low'?"),
        ([{"kind": "clip", "low": "x", "high": 1}], "it: shape 'clip': option 'low' is wrong"),
        ([{"kind": "clip", "low": 1}], "it: shape 'clip': option 'high' is missing"),
        (
            [{"kind": "scale"}, {"kind": "bounded", "reference": "column", "column": "a"}],
            "it: a shape that compares with the answer in a column must be the first",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tables, message):
    with pytest.raises(ConfigError) as error:
        shapes(tables, "it")
    assert message in str(error.value)


def test_what_source_and_shapes_remember_comes_back():
    tables = ({"kind": "length_free"}, {"kind": "standardise"}, {"kind": "bounded", "reference": "first"})
    first, again = shaped(Lengths(), *tables), shaped(Lengths(), *tables)
    rollouts, later = make_rollouts(), make_rollouts([("red", "green and blue"), ("no", "yes")])
    first.score(rollouts)
    again.load_state_dict(first.state_dict())
    assert again.source.calls == 1
    assert again.score(later) == first.score(later)
    assert shaped(Lengths(), *tables).score(later) != first.score(later)


def test_metrics_say_what_the_scores_were():
    rollouts = make_rollouts()
    said = shaped(Said(1, 2, 3, 6), {"kind": "scale", "by": 2.0}).score(rollouts)
    metrics = measure(make_experience(rollouts, make_feedback(rollouts, {"it": said})), Metrics(), 1.0)
    assert (metrics["reward/it"], metrics["unshaped/it"]) == (6.0, 3.0)
    assert "unshaped/fake" not in measure(make_experience(rollouts), Metrics(), 1.0)


def test_a_run_shapes_what_its_table_says_and_writes_down_both(tmp_path):
    config = RunConfig.of(
        {
            "run": {"steps": 2, "out": str(tmp_path / "run"), "tensorboard": False},
            "prompts": {"batch": 2, "group": 4},
            "actions": [{"use": "sample", "max_tokens": 4}],
            "rewards": [
                {"use": "length", "target": 3, "shape": {"kind": "bounded", "reference": "column", "column": "best"}}
            ],
            "credit": {"use": "group"},
            "optimiser": {"use": "grpo", "lr": 0.05},
        }
    )
    rows = [{"prompt": text, "best": "one two three"} for text in ("is it red", "yes or no")]
    history = run(config, policy=FakePolicy(), prompts=rows, progress=False)
    assert all(0 < step["reward/length"] <= 0.5 and step["unshaped/length"] <= 0 for step in history)
    outcomes = read_rollouts(history.folder, ["outcomes"]).to_pylist()
    assert '"unshaped": ' in outcomes[0]["outcomes"]
