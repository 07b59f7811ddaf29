"""A step in which nothing counted is a step of the run all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import rlaif_core as rl
from rlaif_core import loop


class EverySecond:
    """Has an opinion on every second batch, the first one included."""

    asked = 0

    def score(self, rollouts):
        self.asked += 1
        return [float(row) if self.asked % 2 else None for row in range(len(rollouts))]

    def state_dict(self):
        return {"asked": self.asked}

    def load_state_dict(self, state):
        self.asked = state["asked"]


class Ties(EverySecond):
    """Cannot tell the answers to every second batch apart."""

    def score(self, rollouts):
        return [said or 0.0 for said in super().score(rollouts)]


@pytest.mark.parametrize(
    ("optimiser", "credit"), [("grpo", "group"), ("reinforce", "leave_one_out"), ("ppo", "gae"), ("dpo", "group")]
)
def test_the_learning_rate_goes_on_where_nothing_counted(optimiser, credit, config, train):
    tables = config(optimiser, credit, "optimiser.schedule=linear").tables() | {"rewards": []}
    history = train(rl.RunConfig.of(tables), rewards={"judge": EverySecond()})
    assert [step.get("lr") for step in history] == pytest.approx([0.05, None, 0.05 * 4 / 6, None, 0.05 * 2 / 6, None])


@pytest.mark.parametrize(("optimiser", "judge"), [("grpo", EverySecond), ("dpo", Ties)])
def test_an_interrupt_before_such_a_step_is_counted_takes_all_of_it_back(
    optimiser, judge, config, train, go_on, monkeypatch
):
    tables = config(optimiser, "group", "optimiser.schedule=linear").tables() | {"rewards": []}
    straight = [step.get("lr") for step in train(rl.RunConfig.of(tables), rewards={"judge": judge()})]
    measured, real = [], loop.measure

    def interrupted(*given):
        measured.append(given)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(loop, "measure", interrupted)
    again = rl.RunConfig.of(tables, "test", [f"run.out={tables['run']['out']}-again"])
    with pytest.raises(KeyboardInterrupt):
        train(again, rewards={"judge": judge()})
    resumed = go_on(Path(again.run.out), rewards={"judge": judge()})
    assert [step.get("lr") for step in resumed] == straight
