"""A step in which nothing counted is a step of the run all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import rlaif_core as rl


class EverySecond:
    """Has an opinion on every second batch, the first one included."""

    asked = 0

    def score(self, rollouts):
        self.asked += 1
        return [float(row) if self.asked % 2 else None for row in range(len(rollouts))]


class Remembers(EverySecond):
    def state_dict(self):
        return {"asked": self.asked}

    def load_state_dict(self, state):
        self.asked = state["asked"]


@pytest.mark.parametrize(
    ("optimiser", "credit"), [("grpo", "group"), ("reinforce", "leave_one_out"), ("ppo", "gae"), ("dpo", "group")]
)
def test_the_learning_rate_goes_on_where_nothing_counted(optimiser, credit, config, train):
    tables = config(optimiser, credit, "optimiser.schedule=linear").tables() | {"rewards": []}
    history = train(rl.RunConfig.of(tables), rewards={"judge": EverySecond()})
    assert [step.get("lr") for step in history] == pytest.approx([0.05, None, 0.05 * 4 / 6, None, 0.05 * 2 / 6, None])


def test_an_interrupt_before_such_a_step_is_counted_takes_all_of_it_back(config, train, go_on, monkeypatch):
    from rlaif_core import loop

    tables = config("grpo", "group", "optimiser.schedule=linear").tables() | {"rewards": []}
    straight = [step.get("lr") for step in train(rl.RunConfig.of(tables), rewards={"judge": Remembers()})]
    measured, real = [], loop.measure

    def interrupted(*given):
        measured.append(given)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(loop, "measure", interrupted)
    again = rl.RunConfig.of(tables, "test", [f"run.out={tables['run']['out']}-again"])
    with pytest.raises(KeyboardInterrupt):
        train(again, rewards={"judge": Remembers()})
    resumed = go_on(Path(again.run.out), rewards={"judge": Remembers()})
    assert [step.get("lr") for step in resumed] == straight
