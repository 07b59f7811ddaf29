from __future__ import annotations

import pytest

import rlaif_core as rl
from rlaif_core import ConfigError, RunConfig, Stop
from rlaif_core.testing import FakePolicy, make_experience, make_rollouts
from rlaif_guards.kl_budget import KlBudget

EXPERIENCE = make_experience(make_rollouts())


def spend(budget, *kls):
    """What is reported before each step, given what each came to."""
    said = []
    for step, kl in enumerate(kls, 1):
        said.append(budget.observe(step, EXPERIENCE))
        budget.told(step, {"kl": kl, "counted": 1.0})
    return said


def test_it_stops_once_the_median_of_the_window_is_above_the_budget():
    budget = KlBudget(2.0, window=2)
    assert spend(budget, 1.0, 5.0 - 2.0) == [{}, {"kl_budget/spent": 0.5}]
    assert budget.observe(3, EXPERIENCE) == {"kl_budget/spent": 1.0}
    budget.told(3, {"kl": 1.5, "counted": 1.0})
    with pytest.raises(Stop, match=r"2\.25 nats an answer, is above the budget of 2"):
        budget.observe(4, EXPERIENCE)


def test_one_step_beyond_it_is_noise_however_far():
    budget = KlBudget(2.0, window=3)
    spend(budget, 0.5, 1.0, 500.0)
    assert budget.observe(4, EXPERIENCE)["kl_budget/spent"] == 0.5


def test_what_it_remembers_comes_back():
    budget, again = KlBudget(2.0), KlBudget(2.0)
    spend(budget, 2.5, 2.5, 2.5)
    again.load_state_dict(budget.state_dict())
    with pytest.raises(Stop):
        again.observe(4, EXPERIENCE)


def test_an_optimiser_that_reports_no_kl_is_an_error_unless_nothing_counted():
    budget = KlBudget(2.0)
    budget.told(1, {"counted": 0.0})
    with pytest.raises(ConfigError, match="the optimiser reports no metric 'kl'"):
        budget.told(2, {"counted": 1.0})


@pytest.mark.parametrize("options", [{"budget": 0.0}, {"budget": 1.0, "window": 0}, {"budget": float("nan")}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match="both must be above 0, budget finite"):
        KlBudget(**options)


def test_a_run_ends_in_good_order_when_it_is_spent(tmp_path):
    tables = {
        "run": {"steps": 30, "out": str(tmp_path / "run"), "tensorboard": False},
        "prompts": {"batch": 2, "group": 4},
        "actions": [{"use": "sample", "max_tokens": 5}],
        "rewards": [{"use": "keywords", "want": ["yes", "red"]}],
        "credit": {"use": "group"},
        "optimiser": {"use": "reinforce", "kl": 0.0, "lr": 0.3},
        "observers": [{"use": "kl_budget", "budget": 0.05, "window": 2}],
    }
    history = rl.run(
        RunConfig.of(tables), policy=FakePolicy(), prompts=[{"prompt": "is it red"}, {"prompt": "one"}], progress=False
    )
    assert 2 <= len(history) < 30
    assert "is above the budget of 0.05" in history.ended
    assert sum(step["kl"] for step in history[-2:]) / 2 > 0.05
    assert (history.folder / "policy").is_dir()
