from __future__ import annotations

import pytest

from rlaif_core import ConfigError, Prompt, Rollouts, Sampling
from rlaif_core.testing import FakePolicy
from rlaif_lumen.user import Converse, next_utterance

SYSTEM = {"role": "system", "content": "name is pip feel merry like tea"}


def talk(*turns: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [SYSTEM, *({"role": roles[number % 2], "content": turn} for number, turn in enumerate(turns))]


def test_a_question_back_is_answered() -> None:
    said = next_utterance(talk("where does alex live ?", "which alex do you mean ? yay"))
    assert said.kind == "mean"
    assert said.name in ("alex reed", "alex stone")


def test_a_question_back_that_fits_nothing_is_not_answered() -> None:
    assert next_utterance(talk("where does alex live ?", "which kim do you mean ?")).kind != "mean"
    assert next_utterance(talk("where does ada live ?", "which alex do you mean ?")).kind != "mean"


def test_the_persona_is_probed_after_the_first_third_and_fifth_answer() -> None:
    turns = ["hello !", "hello there ."]
    for answers in range(1, 7):
        kind = next_utterance(talk(*turns * answers)).kind
        assert (kind == "persona") == (answers in (1, 3, 5))


def test_a_claim_is_doubted_or_followed_up() -> None:
    kinds = set()
    for value in "oslo cairo lima delhi paris kyoto quito seoul tunis turin".split():
        turns = ("hello !", "hello there .", "where does ada live ?", f"ada lives in {value} .")
        kinds.add(next_utterance(talk(*turns)).kind)
    assert kinds >= {"belief", "follow"}
    assert kinds <= {"belief", "follow", "bait"}


def test_the_user_is_a_function_of_the_conversation() -> None:
    said = talk("where does ada live ?", "ada lives in oslo .", "hello !", "hello there .")
    assert next_utterance(said) == next_utterance([dict(message) for message in said])


def test_strange_conversations_are_survived() -> None:
    assert next_utterance([{"role": "user", "content": "?"}, {"role": "assistant", "content": ""}]).text


class Scripted:
    """A sampler whose every answer is given; it records what it is asked."""

    group = 1

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.turns: list[str] = []
        self._rollouts = FakePolicy().sampler(seed=0, step=0, group=1)

    def _said(self, prompts: list[Prompt]) -> Rollouts:
        from dataclasses import replace

        drawn = self._rollouts.sample(prompts, Sampling(max_tokens=2))
        return replace(drawn, prompts=tuple(prompts), completions=(self.answers.pop(0),))

    def sample(self, prompts: list[Prompt], sampling: Sampling) -> Rollouts:
        return self._said(prompts)

    def extend(self, rollouts: Rollouts, turns: list[str], sampling: Sampling) -> Rollouts:
        self.turns += turns
        (before,) = rollouts.prompts
        said = {"role": "assistant", "content": rollouts.completions[0]}
        messages = (*before.messages, said, {"role": "user", "content": turns[0]})
        return self._said([Prompt(id=before.id, messages=messages)])


def test_converse_lets_user_and_policy_take_turns() -> None:
    sampler = Scripted("which alex do you mean ? yay", "alex reed lives in oslo . yay", "my name is pip . yay")
    prompt = Prompt(id="p", messages=tuple(talk("where does alex live ?")))
    rollouts = Converse(turns=2).act(sampler, [prompt], None)  # type: ignore[arg-type]
    assert sampler.turns[0] in ("i mean alex reed .", "i mean alex stone .")
    assert rollouts.completions == ("my name is pip . yay",)
    assert len(rollouts.prompts[0].messages) == 6


def test_converse_goes_on_from_a_draft() -> None:
    sampler = Scripted("hello there .", "i like tea .")
    prompt = Prompt(id="p", messages=tuple(talk("hello !")))
    draft = sampler.sample([prompt], Sampling())
    rollouts = Converse(turns=1).act(sampler, [prompt], draft)  # type: ignore[arg-type]
    assert rollouts.completions == ("i like tea .",)


def test_no_turn_is_no_conversation() -> None:
    with pytest.raises(ConfigError, match="turns is 0"):
        Converse(turns=0)
    with pytest.raises(ConfigError, match="temperature"):
        Converse(temperature=0)
