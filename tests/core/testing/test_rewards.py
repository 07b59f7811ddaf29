from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

import rlaif_core as rl
from rlaif_core.feedback import Scored
from rlaif_core.testing import check_reward


def source(score: Callable[[rl.Rollouts], Any]) -> Any:
    """A reward source with that `score`."""
    return type("Source", (), {"score": staticmethod(score)})()


def lengths(rollouts: rl.Rollouts) -> list[float]:
    return [float(len(text)) for text in rollouts.completions]


def scored(change: Callable[[torch.Tensor, rl.Rollouts], torch.Tensor]) -> Any:
    """A source of token scores, 1 for every chosen token, after `change`."""

    def score(rollouts: rl.Rollouts) -> Scored:
        tokens = rollouts.mask.float()
        outcomes = [rl.Score(total) for total in tokens.sum(1).tolist()]
        return Scored(outcomes=outcomes, tokens=change(tokens, rollouts))

    return source(score)


def test_a_good_source_passes_whatever_it_returns() -> None:
    check_reward(source(lengths))
    check_reward(source(lambda rollouts: torch.tensor(lengths(rollouts))))
    check_reward(source(lambda rollouts: [rl.Score(value, "length", 0.1) for value in lengths(rollouts)]))
    check_reward(source(lambda rollouts: [rl.Abstain("no opinion")] * len(rollouts)))
    check_reward(scored(lambda tokens, rollouts: tokens))


def write_into_tokens(rollouts: rl.Rollouts) -> list[float]:
    rollouts.tokens.zero_()
    return lengths(rollouts)


def write_into_meta(rollouts: rl.Rollouts) -> list[float]:
    rollouts.prompts[0].meta["seen"].append(1)
    return lengths(rollouts)


def rank(rollouts: rl.Rollouts) -> list[float]:
    ordered = sorted(rollouts.completions)
    return [float(ordered.index(text)) for text in rollouts.completions]


BAD_SOURCES = {
    "too few": (lambda r: lengths(r)[1:], r"Source\.score: returned 3 outcomes for 4 answers"),
    "nan": (lambda r: [float("nan")] * len(r), r"Source\.score: answer 0 scored nan; return Abstain"),
    "infinite": (lambda r: [rl.Score(float("inf"))] * len(r), r"Source\.score: a score is inf"),
    "text": (lambda r: ["good"] * len(r), r"answer 0 got a str; return Score, Abstain, Failed or a number"),
    "nothing": (lambda r: None, r"returned NoneType, but must return 4 outcomes"),
    "one number": (lambda r: 1.0, r"returned one float, but must return 4 outcomes"),
    "two dimensions": (lambda r: torch.zeros(len(r), 2), r"answer 0 got a list"),
    "writes tokens": (write_into_tokens, r"Source\.score changed its input rollouts\.tokens in place; copy it first"),
    "writes meta": (write_into_meta, r"changed its input rollouts\.prompts\[0\]\.meta\['seen'\]"),
    "chance": (lambda r: [random.random() for _ in range(len(r))], r"differently when asked the same thing twice"),
    "rank": (rank, r"scores the same answer differently when it comes alone"),
    "position": (lambda r: list(range(len(r))), r"scores the same answer differently when the batch is reversed"),
    "padding": (lambda r: [float(r.attend.shape[1])] * len(r), r"answer differently when the batch is padded wider"),
    "labels": (
        lambda r: [value + int(label) for value, label in zip(lengths(r), r.group, strict=True)],
        r"answer differently when the groups are numbered otherwise",
    ),
    "outage": (
        lambda r: [rl.Failed("no network")] * len(r),
        r"failed on every answer of an ordinary batch: no network",
    ),
}


@pytest.mark.parametrize("defect", BAD_SOURCES)
def test_each_defect_of_a_source_is_told_by_its_own_sentence(defect: str) -> None:
    score, sentence = BAD_SOURCES[defect]
    with pytest.raises(rl.PluginError, match=sentence):
        check_reward(source(score), meta={"seen": []})


BAD_TOKENS = {
    "shape": (lambda tokens, r: tokens[:, 1:], r"token scores is \(4, \d+\) torch.float32, but must be \[B,T\]"),
    "type": (lambda tokens, r: tokens.double(), r"torch.float64, but must be \[B,T\] float32"),
    "off-mask": (lambda tokens, r: tokens + 1, "0 wherever the rollouts' mask is False"),
    "list": (lambda tokens, r: tokens.tolist(), r"token scores is a list, but must be a tensor \[B,T\] float32"),
    "sum": (lambda tokens, r: tokens * 2, r"answer 0 scored 3.0, but its token scores sum to 6.0"),
}


@pytest.mark.parametrize("defect", BAD_TOKENS)
def test_each_defect_of_token_scores_is_told(defect: str) -> None:
    change, sentence = BAD_TOKENS[defect]
    with pytest.raises(rl.PluginError, match=sentence):
        check_reward(scored(change))


def test_memory_shows_even_where_the_same_question_twice_does_not() -> None:
    seen: set[str] = set()

    def novelty(rollouts: rl.Rollouts) -> list[float]:
        seen.update(rollouts.completions)
        return [float(len(seen))] * len(rollouts)

    with pytest.raises(rl.PluginError, match="remembers earlier calls: its answers on an ordinary batch changed"):
        check_reward(source(novelty))


def test_what_is_meant_to_be_so_can_be_allowed() -> None:
    check_reward(source(rank), pointwise=False)
    check_reward(source(BAD_SOURCES["chance"][0]), repeatable=False, pointwise=False)
    check_reward(source(lambda r: [value + 1e-3 * random.random() for value in lengths(r)]), tolerance=1e-2)


def test_what_a_source_raises_keeps_its_type_and_says_on_what() -> None:
    needs_answer = source(
        lambda r: [float(p.meta["answer"] in c) for p, c in zip(r.prompts, r.completions, strict=True)]
    )
    with pytest.raises(KeyError) as caught:
        check_reward(needs_answer)
    assert "Source.score on an ordinary batch" in caught.value.__notes__[0]
    check_reward(needs_answer, meta={"answer": "yes"})


def test_a_reward_function_is_checked_as_it_is() -> None:
    @rl.reward
    def brevity(prompt: rl.Prompt, completion: str, *, per: int = 100) -> float:
        return -len(completion) / per

    @rl.reward
    def broken(prompt: rl.Prompt, completion: str) -> float:
        return 1 / len(completion)

    check_reward(brevity)
    with pytest.raises(ZeroDivisionError) as caught:
        check_reward(broken)
    assert "on empty and blank answers" in "".join(caught.value.__notes__)
