from __future__ import annotations

import math
import warnings

import pytest

import rlaif_core as rl
from rlaif_core import Abstain, ConfigError, Failed, FeedbackError, PluginError, RunConfig, Score, Stop, Verdict
from rlaif_core.testing import FakePolicy, make_experience, make_feedback, make_rollouts
from rlaif_guards.canary import Canary, Look, drop

ANSWERS = [("one", "two", "red"), ("green", "yes", "no"), ("it", "is", "maybe"), ("blue", "one two", "no no")]


class Gold:
    """A judge whose level is set from outside; answers differ a little, by their length."""

    def __init__(self):
        self.level, self.asked = 0.0, 0

    def ask(self, questions):
        self.asked += len(questions)
        return [Verdict(outcomes=(Score(self.level + 0.1 * len(its.answers[0])),)) for its in questions]


def experience(proxy=0.0, **said):
    rollouts = make_rollouts(ANSWERS)
    scores = [proxy + 0.1 * (row % 3) for row in range(len(rollouts))]
    return make_experience(rollouts, make_feedback(rollouts, {"proxy": scores, **said}, weights=dict.fromkeys(said, 0)))


def watch(canary, gold, course):
    """The metrics while (gold, proxy) takes its course, a step each."""
    said = []
    for step, (level, proxy) in enumerate(course, 1):
        gold.level = level
        said.append(canary.observe(step, experience(proxy)))
    return said


UP = [(0.2 * n, 0.5 * n) for n in range(4)]
DOWN = [(0.6 - 0.4 * n, 2.0 + 0.5 * n) for n in range(6)]


def test_it_reports_what_both_say_and_how_far_they_have_parted():
    gold = Gold()
    first, second = watch(Canary(gold, every=1), gold, [(0.0, 0.0), (1.0, 1.0)])
    assert first["canary/gap"] == 0.0
    assert first["canary/proxy"] == pytest.approx(0.1)
    assert second["canary/gold"] - first["canary/gold"] == pytest.approx(1.0)
    assert second["canary/gap"] > 1  # the reward's spread is the smaller one, so that its rise is the larger
    assert "canary/drop" not in second


def test_it_warns_when_gold_falls_while_the_reward_rises():
    gold = Gold()
    canary = Canary(gold, every=1)
    with pytest.warns(RuntimeWarning, match=r"gold fell from .* while the reward rose; it was best around step \d"):
        said = watch(canary, gold, UP + DOWN)
    alarms = [its["canary/alarm"] for its in said]
    assert alarms[0] == 0
    assert alarms[-1] == 1
    assert said[-1]["canary/drop"] > 3


def test_it_warns_once_for_each_time_that_they_part():
    gold = Gold()
    canary = Canary(gold, every=1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        watch(canary, gold, UP + DOWN)
    assert len(seen) == 1


def test_it_stops_the_run_if_that_is_wanted_and_says_where_to_go_back_to():
    gold = Gold()
    with pytest.raises(Stop, match=r"was best around step 4; go back to a checkpoint of that time"):
        watch(Canary(gold, every=1, action="stop"), gold, UP + DOWN)


@pytest.mark.parametrize(
    "course",
    [
        UP + UP[::-1],  # both fall: a bad policy, and no hack
        [(0.3, 0.5 * n) for n in range(10)],  # gold stands still
        UP + [(0.6 + 0.2 * n, 2.0 + n) for n in range(6)],  # both rise
    ],
)
def test_it_is_silent_while_they_do_not_part(course):
    gold = Gold()
    said = watch(Canary(gold, every=1, action="stop"), gold, course)
    assert said[-1]["canary/alarm"] == 0


def test_it_looks_as_often_and_at_as_many_prompts_as_it_is_told():
    gold = Gold()
    said = watch(Canary(gold, every=3, share=0.5), gold, [(0.0, 0.0)] * 7)
    assert [bool(its) for its in said] == [True, False, False, True, False, False, True]
    assert gold.asked == 3 * 6  # of four prompts two, with three answers each


def test_a_source_of_weight_0_is_a_canary_too():
    canary = Canary(source="held_out", every=1)
    said = canary.observe(1, experience(held_out=[float(row) for row in range(12)]))
    assert said["canary/gold"] == pytest.approx(5.5)


@pytest.mark.parametrize("source", ["proxy", "no such"])
def test_a_source_that_is_learnt_from_is_none(source):
    with pytest.raises(ConfigError, match=r"is no source of weight 0.*Of weight 0: held_out"):
        Canary(source=source, every=1).observe(1, experience(held_out=[0.0] * 12))


def test_answers_without_a_score_are_left_out():
    nothing = [Abstain("cannot tell"), Failed("outage")] * 5
    said = Canary(source="held_out", every=1).observe(1, experience(held_out=[1.0, 2.0, *nothing]))
    assert said["canary/gold"] == 1.5
    assert Canary(source="held_out", every=1).observe(1, experience(held_out=[Abstain("cannot tell")] * 12)) == {}


def test_a_canary_that_an_outage_has_silenced_stops_the_run():
    silent = [Abstain("cannot tell")] * 10 + [Failed("outage")] * 2
    with pytest.raises(FeedbackError, match=r"failed on 2 of 12 answers and scored none.*nothing guards.*: outage"):
        Canary(source="held_out", every=1).observe(1, experience(held_out=silent))


def test_what_it_has_seen_comes_back():
    gold = Gold()
    canary, again = Canary(gold, every=1, noise=99.0), Canary(gold, every=1, noise=99.0)
    watch(canary, gold, UP + DOWN[:3])
    again.load_state_dict(canary.state_dict())
    assert watch(canary, gold, DOWN[3:4]) == watch(again, gold, DOWN[3:4])
    assert "canary/drop" not in watch(Canary(gold, every=1), gold, DOWN[3:4])[0]


def test_a_judge_that_leaves_questions_unanswered_is_named():
    class Silent:
        def ask(self, questions):
            return []

    with pytest.raises(PluginError, match="gave 0 verdicts on 12 questions"):
        Canary(Silent(), every=1).observe(1, experience())


SENSELESS: list[dict[str, float]] = [{"every": 0}, {"share": 0.0}, {"window": 0}, {"noise": math.nan}]


@pytest.mark.parametrize(
    "options", [{}, {"judge": Gold(), "source": "it"}, *({"source": "it", **its} for its in SENSELESS)]
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match=r"^canary: "):
        Canary(**options)


def looks(*golds, error=0.01):
    return [Look(step, gold, float(step), error, 1.0, 1.0) for step, gold in enumerate(golds, 1)]


def test_the_drop_is_counted_in_standard_errors_of_both_windows():
    found = drop(looks(0.0, 1.0, 1.0, 0.5, 0.5), window=2)
    assert (found.best, found.now, found.step) == (1.0, 0.5, 3)
    assert found.errors == pytest.approx(0.5 / math.sqrt(4 * 0.01 / 4))


def test_windows_do_not_overlap_and_too_few_looks_say_nothing():
    assert drop(looks(1.0, 1.0, 0.0), window=2) is None
    assert drop(looks(0.0, 5.0, 0.0), window=1).best == 5.0


def test_a_run_carries_the_curve_in_its_metrics_and_through_a_resume(tmp_path):
    (tmp_path / "gold.py").write_text("def gold(question):\n    return [-len(text) for text in question.answers]\n")

    def config(name):
        return RunConfig.of(
            {
                "run": {"steps": 6, "out": str(tmp_path / name), "tensorboard": False, "save_every": 3, "keep": 9},
                "prompts": {"batch": 2, "group": 4},
                "actions": [{"use": "sample", "max_tokens": 5}],
                "judges": {"gold": {"use": "function", "path": f"{tmp_path / 'gold.py'}:gold"}},
                "rewards": [{"use": "keywords", "want": ["yes", "red"]}],
                "credit": {"use": "group"},
                "optimiser": {"use": "reinforce", "lr": 0.1},
                "observers": [{"use": "canary", "judge": "gold", "every": 1, "window": 1, "noise": 1e6}],
            }
        )

    prompts = [{"prompt": "is it red"}, {"prompt": "one"}]
    straight = rl.run(config("straight"), policy=FakePolicy(), prompts=prompts, progress=False)
    assert {"canary/gold", "canary/proxy", "canary/gap", "canary/drop", "canary/alarm"} <= straight[-1].keys()
    resumed = rl.resume(straight.folder, step=3, policy=FakePolicy(), prompts=prompts, progress=False)
    names = [name for name in straight[-1] if name.startswith("canary/")]
    assert [[its[name] for name in names] for its in resumed[1:]] == [
        [its[name] for name in names] for its in straight[1:]
    ]
