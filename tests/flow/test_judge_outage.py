"""A judge that is down, slow or talks nonsense for a part of a run: the run waits, then stops with a checkpoint, and
nothing is learnt from the outage. Resumed, it ends as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import rlaif_core as rl
from faulty_server import Answer, FaultyServer, Seen, error, raw, reply, reset, scored, slow
from rlaif_core.record import read_metrics, read_rollouts
from rlaif_core.testing import FakePolicy

ROWS = [{"id": f"p{number}", "prompt": text} for number, text in enumerate(("is it red", "yes or no", "one and two"))]
STEPS, BATCH = 5, 8
BEGINS = 18
"""Requests that are answered before the trouble begins: in the third step, with a batch of eight."""
TROUBLES: dict[str, Callable[[], Answer]] = {
    "down": lambda: error(500, "the machine is on fire"),
    "gone": reset,
    "slow": lambda: slow(5.0, reply({})),
    "nonsense": lambda: raw(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{{{{"),
    "chatty": lambda: scored({"The": 0.9, "Well": 0.1}),
    "overloaded": lambda: error(429, "slow down"),
}


def verdict(seen: Seen) -> Answer:
    """Level 1 to 5 by how often the answer says yes, with some doubt that depends on it."""
    text = seen.body["messages"][-1]["content"]
    answer = text.rpartition("<answer ")[2]
    level = min(1 + answer.count("yes"), 5)
    doubt = 0.02 + 0.01 * (len(answer) % 5)
    return scored({str(n): 1 - 4 * doubt if n == level else doubt for n in range(1, 6)}, str(level))


class Judge:
    """The server, which is in trouble from one request on until it has recovered."""

    def __init__(self) -> None:
        self.trouble: Callable[[], Answer] | None = None
        self.begins = self.lasts = 10**9
        self.asked = self.refused = 0

    def __call__(self, seen: Seen) -> Answer:
        self.asked += 1
        if self.trouble is not None and self.begins < self.asked <= self.begins + self.lasts:
            self.refused += 1
            return self.trouble()
        return verdict(seen)


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def server(judge: Judge) -> Iterator[FaultyServer]:
    with FaultyServer(judge) as running:
        yield running


@pytest.fixture
def config(server: FaultyServer, tmp_path: Path) -> Callable[..., rl.RunConfig]:
    def build(name: str, **judged: Any) -> rl.RunConfig:
        its = {"base_url": server.url, "model": "m", "read": "logprobs", "timeout": 0.4, "retries": 2, "patience": 0.6}
        return rl.RunConfig.of(
            {
                "run": {"seed": 3, "steps": STEPS, "out": str(tmp_path / name), "save_every": 2, "tensorboard": False},
                "prompts": {"batch": 2, "group": 4},
                "actions": [{"use": "sample", "max_tokens": 5}],
                "judges": {"main": {"use": "openai", **its, "cache": str(tmp_path / f"{name}.sqlite"), **judged}},
                "rewards": [{"use": "judge", "judge": "main", "rubric": "Does it say yes?"}],
                "credit": {"use": "group"},
                "optimiser": {"use": "grpo", "lr": 0.05},
            }
        )

    return build


def train(config: rl.RunConfig) -> FakePolicy:
    policy = FakePolicy()
    rl.run(config, policy=policy, prompts=ROWS, progress=False)
    return policy


def left_behind(folder: Path) -> tuple[list[dict[str, float]], list[dict[str, Any]]]:
    """Everything that a run wrote down but the clock."""
    timeless = [
        {k: v for k, v in line.items() if k not in ("seconds", "tokens_per_second")} for line in read_metrics(folder)
    ]
    return timeless, read_rollouts(folder).to_pylist()


def same_weights(one: FakePolicy, other: FakePolicy) -> bool:
    theirs = other.module.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.module.state_dict().items())


@pytest.mark.parametrize("trouble", TROUBLES)
def test_nothing_is_learnt_from_an_outage_and_nothing_is_lost(
    trouble: str, judge: Judge, config: Callable[..., rl.RunConfig], tmp_path: Path
) -> None:
    undisturbed = train(config("undisturbed"))
    judge.asked, judge.trouble, judge.begins = 0, TROUBLES[trouble], BEGINS
    policy = FakePolicy()
    with pytest.raises(rl.FeedbackError, match="of what 'judge' said failed, more than max_failed") as caught:
        rl.run(config("disturbed"), policy=policy, prompts=ROWS, progress=False)
    assert judge.refused > 0
    assert "nothing was trained on it" in str(caught.value)
    assert policy.version == 2  # two steps were taken before it
    assert len(read_metrics(tmp_path / "disturbed")) == 2
    assert (tmp_path / "disturbed" / "checkpoints" / "step-2").is_dir()

    judge.trouble = None
    resumed = FakePolicy()
    rl.resume(tmp_path / "disturbed", policy=resumed, prompts=ROWS, progress=False)
    assert same_weights(resumed, undisturbed)
    assert left_behind(tmp_path / "disturbed") == left_behind(tmp_path / "undisturbed")


@pytest.mark.parametrize("trouble", ["down", "gone", "nonsense", "overloaded"])
def test_a_short_outage_is_waited_for(
    trouble: str, judge: Judge, config: Callable[..., rl.RunConfig], tmp_path: Path
) -> None:
    undisturbed = train(config("undisturbed"))
    judge.asked, judge.trouble, judge.begins, judge.lasts = 0, TROUBLES[trouble], BEGINS, 3
    disturbed = train(config("disturbed", patience=30.0, retries=8))
    assert judge.refused == 3
    assert same_weights(disturbed, undisturbed)
    assert left_behind(tmp_path / "disturbed") == left_behind(tmp_path / "undisturbed")


def test_what_was_judged_before_is_not_asked_again(
    judge: Judge, config: Callable[..., rl.RunConfig], tmp_path: Path
) -> None:
    train(config("first"))
    paid = judge.asked
    again = config("second", cache=str(tmp_path / "first.sqlite"))
    train(again)
    assert judge.asked == paid
    assert left_behind(tmp_path / "first") == left_behind(tmp_path / "second")


def test_a_spent_budget_stops_the_run_and_a_raised_one_goes_on(
    judge: Judge, config: Callable[..., rl.RunConfig], tmp_path: Path
) -> None:
    undisturbed = train(config("undisturbed"))
    judge.asked = 0
    with pytest.raises(rl.FeedbackError, match="the budget of judge 'm' is spent: budget_calls is 20"):
        train(config("disturbed", budget_calls=20))
    assert judge.asked == 20
    resumed = FakePolicy()
    with pytest.raises(rl.FeedbackError, match="is spent"):  # it is still spent
        rl.resume(tmp_path / "disturbed", policy=FakePolicy(), prompts=ROWS, progress=False)
    assert judge.asked == 20
    changes = ["judges.main.budget_calls=1000"]
    rl.resume(tmp_path / "disturbed", policy=resumed, prompts=ROWS, progress=False, changes=changes)
    assert same_weights(resumed, undisturbed)
    assert left_behind(tmp_path / "disturbed") == left_behind(tmp_path / "undisturbed")
