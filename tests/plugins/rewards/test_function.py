from __future__ import annotations

import asyncio
import re
from pathlib import Path
from threading import TIMEOUT_MAX
from typing import Any

import pytest

from rlaif_core import Abstain, ConfigError, Failed, FeedbackError, PluginError, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.function import Function

ROLLOUTS = make_rollouts([("yes", "no"), ("maybe", "is it")])

CODE = """
import asyncio, time
import numpy, torch
import rlaif_core as rl

def words(prompt, completion, factor=1):
    return factor * len(completion.split())

def typed(prompt, completion):
    return {"yes": rl.Score(1.0, "agreed"), "no": rl.Abstain("unsure"), "maybe": rl.Failed("down")}.get(completion)

def of_torch(prompt, completion):
    return torch.tensor(0.5) if completion == "yes" else numpy.float32(0.25)

def all_at_once(rollouts):
    return torch.arange(len(rollouts)) / 2

def too_few(rollouts):
    return [1.0]

def raises(prompt, completion):
    return 1.0 if completion == "yes" else {}["missing"]

def undefined(prompt, completion):
    return float("nan") if completion == "maybe" else 0.0

def text(prompt, completion):
    return "good"

def hangs(prompt, completion):
    time.sleep(0 if completion == "yes" else 30)

def hangs_at_once(rollouts):
    time.sleep(30)

async def awaited(prompt, completion):
    await asyncio.sleep(0)
    return 2.0

async def awaited_at_once(rollouts):
    return [asyncio.get_running_loop() is loop_of(rollouts)] * len(rollouts)

loops = []
def loop_of(rollouts):
    loops.append(asyncio.get_running_loop())
    return loops[0]

async def hangs_awaiting(prompt, completion):
    await asyncio.sleep(30)

def of_trl(prompts, completions, **columns):
    return [float(len(completion)) for completion in completions]

@rl.reward
def marked(prompt, completion) -> float:
    return 1.0

constant = 3
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("function") / "my_rewards.py"
    path.write_text(CODE)
    return path


def values(source: Function) -> list[Any]:
    return [getattr(outcome, "value", type(outcome)) for outcome in source.score(ROLLOUTS)]


def notes(error: pytest.ExceptionInfo[Any]) -> str:
    return "\n".join(error.value.__notes__)


def test_keeps_the_contract(file: Path) -> None:
    check_reward(Function(f"{file}:words"))


def test_each_answer_in_turn(file: Path) -> None:
    assert values(Function(f"{file}:words")) == [1.0, 1.0, 1.0, 2.0]
    assert values(Function(f"{file}:words", options={"factor": 3}, timeout=0)) == [3.0, 3.0, 3.0, 6.0]
    assert values(Function(f"{file}:marked")) == [1.0] * 4


def test_outcomes_and_numbers_of_other_libraries(file: Path) -> None:
    said = Function(f"{file}:typed").score(ROLLOUTS)
    assert said[:3] == [Score(1.0, "agreed"), Abstain("unsure"), Failed("down")]
    assert isinstance(said[3], Abstain)
    assert values(Function(f"{file}:of_torch")) == [0.5, 0.25, 0.25, 0.25]


def test_all_answers_at_once(file: Path) -> None:
    assert values(Function(f"{file}:all_at_once", convention="rollouts")) == [0.0, 0.5, 1.0, 1.5]


def test_coroutines_are_awaited_in_one_loop(file: Path) -> None:
    assert values(Function(f"{file}:awaited")) == [2.0] * 4
    source = Function(f"{file}:awaited_at_once", convention="rollouts")
    assert values(source) == values(source) == [1.0] * 4
    with pytest.raises(FeedbackError, match=r"took longer than 1 s"):
        Function(f"{file}:hangs_awaiting", timeout=1).score(ROLLOUTS)


def test_coroutines_inside_a_running_loop(file: Path) -> None:
    async def notebook() -> list[Any]:
        return values(Function(f"{file}:awaited", timeout=0))

    assert asyncio.run(notebook()) == [2.0] * 4


def test_functions_written_for_trl(file: Path) -> None:
    source = Function(f"{file}:of_trl", convention="trl")
    check_reward(source)
    assert source.score(ROLLOUTS)[0] == Score(3.0, "the function returned 3")
    assert values(Function(f"{file}:of_trl", convention="trl", conversational=True)) == [1.0] * 4  # messages


def test_conversational_belongs_to_trl(file: Path) -> None:
    with pytest.raises(ConfigError, match="conversational belongs to convention = 'trl'"):
        Function(f"{file}:words", conversational=True)


def test_function_of_an_installed_module() -> None:
    with pytest.raises(TypeError):  # it was found and called, with a prompt and a completion
        Function("math:sqrt").score(ROLLOUTS)


def test_exception_keeps_its_type_and_says_whose_it_is(file: Path) -> None:
    with pytest.raises(KeyError, match="missing") as error:
        Function(f"{file}:raises").score(ROLLOUTS)
    assert f"reward function '{file}:raises', answer 1, to prompt 'prompt-0'" in notes(error)


def test_too_few_values_are_refused(file: Path) -> None:
    with pytest.raises(FeedbackError, match="returned 1 outcomes for 4 answers") as error:
        Function(f"{file}:too_few", convention="rollouts").score(ROLLOUTS)
    assert f"reward function '{file}:too_few'" in notes(error)


@pytest.mark.parametrize(
    ("name", "complaint", "prompt"),
    [("undefined", "answer 2 scored nan", "prompt-1"), ("text", "answer 0 got a str", "prompt-0")],
)
def test_what_is_no_score_is_refused(file: Path, name: str, complaint: str, prompt: str) -> None:
    with pytest.raises(FeedbackError, match=complaint) as error:
        Function(f"{file}:{name}").score(ROLLOUTS)
    assert f"to prompt {prompt!r}" in notes(error)


def test_hanging_names_the_function_and_the_prompt(file: Path) -> None:
    with pytest.raises(FeedbackError, match=r"took longer than 1 s") as error:
        Function(f"{file}:hangs", timeout=1).score(ROLLOUTS)
    assert f"reward function '{file}:hangs', answer 1, to prompt 'prompt-0'" in notes(error)
    with pytest.raises(FeedbackError, match=r"took longer than 1 s") as error:
        Function(f"{file}:hangs_at_once", convention="rollouts", timeout=1).score(ROLLOUTS)
    assert "hangs_at_once" in notes(error)


def test_functions_that_cannot_be_found_are_refused(file: Path) -> None:
    with pytest.raises(PluginError, match="no function 'word'; did you mean 'words'"):
        Function(f"{file}:word")
    with pytest.raises(PluginError, match="there is no such file"):
        Function("nowhere.py:words")
    with pytest.raises(PluginError, match="is a int, not a function"):
        Function(f"{file}:constant")


@pytest.mark.parametrize("timeout", [-1, float("inf"), float("nan"), 1e20])
def test_a_timeout_that_cannot_be_waited_for_is_refused(file: Path, timeout: float) -> None:
    with pytest.raises(ConfigError, match=rf"timeout is {re.escape(str(timeout))}, but must be 0 \(no limit\) or more"):
        Function(f"{file}:words", timeout=timeout)


def test_the_longest_timeout_can_be_waited_for(file: Path) -> None:
    assert values(Function(f"{file}:words", timeout=TIMEOUT_MAX)) == [1.0, 1.0, 1.0, 2.0]
