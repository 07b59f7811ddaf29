"""A step in which nothing counted is a step of the run all the same."""

from __future__ import annotations

import pytest

import rlaif_core as rl


class EverySecond:
    """Has an opinion on every second batch, the first one included."""

    asked = 0

    def score(self, rollouts):
        self.asked += 1
        return [float(row) if self.asked % 2 else None for row in range(len(rollouts))]


@pytest.mark.parametrize(
    ("optimiser", "credit"), [("grpo", "group"), ("reinforce", "leave_one_out"), ("ppo", "gae"), ("dpo", "group")]
)
def test_the_learning_rate_goes_on_where_nothing_counted(optimiser, credit, config, train):
    tables = config(optimiser, credit, "optimiser.schedule=linear").tables() | {"rewards": []}
    history = train(rl.RunConfig.of(tables), rewards={"judge": EverySecond()})
    assert [step.get("lr") for step in history] == pytest.approx([0.05, None, 0.05 * 4 / 6, None, 0.05 * 2 / 6, None])
