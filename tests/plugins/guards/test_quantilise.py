from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from rlaif_core import Abstain, ConfigError, Failed, FeedbackError, PluginError, Plugins, RunConfig, Verdict, run
from rlaif_core.feedback import outcome_of
from rlaif_core.record import read_rollouts
from rlaif_core.run import check
from rlaif_core.testing import FakePolicy, check_action, make_rollouts
from rlaif_guards.quantilise import Quantilise


class By:
    """A judge that says what it was told of each text."""

    def __init__(self, said):
        self.said = said

    def ask(self, questions):
        return [
            Verdict(outcomes=tuple(outcome_of(self.said(answer), 0) for answer in question.answers))
            for question in questions
        ]


ANSWERS = [tuple("abcdefgh"), tuple("hgfedcba")]


def kept(**options):
    """The answers kept at many states of the policy, in turn."""
    action, rollouts = Quantilise(By(ord), **options), make_rollouts(ANSWERS)
    return [action.act(None, (), replace(rollouts, policy_version=n)).completions for n in range(200)]


def test_keeps_the_contract():
    check_action(Quantilise(By(len), q=0.5), draft=True, partial=True)


def test_one_of_the_best_share_is_kept_each_as_often_as_another():
    said = Counter(text for its in kept(q=0.25) for text in its)
    assert set(said) == {"g", "h"}
    assert abs(said["g"] - said["h"]) < 80  # four standard deviations of 400 tosses


def test_of_n_answers_a_share_of_1_over_n_is_the_best_and_all_is_any():
    assert {text for its in kept(q=1 / 8) for text in its} == {"h"}
    assert {text for its in kept(q=1.0) for text in its} == set("abcdefgh")


def test_each_set_keeps_one_of_its_own():
    assert set(kept(q=0.25, keep=2)) == {("g", "h", "h", "g")}


def test_what_is_kept_is_a_row_as_it_was_and_no_sample():
    rollouts = make_rollouts(ANSWERS)
    said = Quantilise(By(ord), q=1 / 8).act(None, (), rollouts)
    assert said.recorded
    assert said.group.tolist() == [0, 1]
    assert said.tokens.equal(rollouts.tokens[[7, 8]])
    assert said.logp.equal(rollouts.logp[[7, 8]])


@pytest.mark.parametrize("nothing", [Abstain("cannot tell"), Failed("outage")])
def test_what_the_judge_has_no_score_for_comes_last(nothing):
    judge = By(lambda text: nothing if text > "c" else ord(text))
    said = {Quantilise(judge, q=0.25, seed=s).act(None, (), make_rollouts(ANSWERS)).completions[0] for s in range(40)}
    assert said == {"b", "c"}


def test_a_set_that_an_outage_left_without_a_score_stops_the_run_and_one_without_an_opinion_does_not():
    with pytest.raises(FeedbackError, match="scored none of 8 answers: outage"):
        Quantilise(By(lambda _: Failed("outage"))).act(None, (), make_rollouts(ANSWERS))
    assert len(Quantilise(By(lambda _: Abstain("cannot tell"))).act(None, (), make_rollouts(ANSWERS))) == 2


def test_equal_scores_are_told_apart_by_chance_alone():
    said = {
        Quantilise(By(lambda _: 1), q=0.1, seed=s).act(None, (), make_rollouts(ANSWERS)).completions[0]
        for s in range(99)
    }
    assert said == set("abcdefgh")


@pytest.mark.parametrize("options", [{"q": 0.0}, {"q": 1.1}, {"keep": 0}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match="q must be above 0 and at most 1, keep at least 1"):
        Quantilise(By(len), **options)


def test_sets_that_do_not_come_out_even_are_refused():
    with pytest.raises(ConfigError, match="8 answers to a prompt cannot be cut into 3 equal sets"):
        Quantilise(By(len), keep=3).act(None, (), make_rollouts(ANSWERS))


def test_without_answers_to_choose_from_it_says_where_it_belongs():
    with pytest.raises(ConfigError, match="put it behind 'sample'"):
        Quantilise(By(len)).act(None, (), None)


def test_a_judge_that_leaves_questions_unanswered_is_named():
    class Silent:
        def ask(self, questions):
            return []

    with pytest.raises(PluginError, match="gave 0 verdicts on 16 questions"):
        Quantilise(Silent()).act(None, (), make_rollouts(ANSWERS))


def tables(folder, **action):
    return {
        "run": {"steps": 2, "out": str(folder), "tensorboard": False},
        "policy": {"model": "no/such"},
        "prompts": {
            "dataset": "rlaif_lumen.prompts:prompts",
            "options": {"count": 4, "seed": 0},
            "column": "messages",
            "batch": 2,
            "group": 8,
        },
        "actions": [{"use": "sample", "max_tokens": 4}, {"use": "quantilise", **action}],
        "judges": {"main": {"use": "function", "path": "statistics:fmean"}},
        "rewards": [{"use": "length", "target": 3}],
        "credit": {"use": "group"},
        "optimiser": {"use": "grpo", "lr": 0.05},
    }


def test_a_config_names_its_judge(tmp_path):
    (plan,) = [
        its for its in check(RunConfig.of(tables(tmp_path, judge="main"))).of("actions") if its.options.get("judge")
    ]
    assert plan.listing.offer.name == "quantilise"
    with pytest.raises(ConfigError, match=r"asks judge 'mian', but there is no \[judges.mian\]; did you mean 'main'"):
        check(RunConfig.of(tables(tmp_path, judge="mian")))


def test_a_run_learns_from_what_was_kept(tmp_path):
    (tmp_path / "long.py").write_text("def length(question):\n    return [len(text) for text in question.answers]\n")
    plain = tables(tmp_path / "run", judge="main", q=0.25, keep=2)
    plain["prompts"] = {"batch": 2, "group": 8}
    plain["judges"]["main"]["path"] = f"{tmp_path / 'long.py'}:length"
    history = run(
        RunConfig.of(plain),
        policy=FakePolicy(),
        plugins=Plugins.load(),
        prompts=[{"prompt": "is it red"}, {"prompt": "one"}],
        progress=False,
    )
    rows = read_rollouts(history.folder, ["step", "completion"]).to_pylist()
    assert len(rows) == 2 * 2 * 2
    assert "kl" not in history[0]
