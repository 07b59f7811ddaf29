from __future__ import annotations

import math
import shutil
from pathlib import Path
from statistics import fmean, pvariance
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rlaif_core import ConfigError, Failed, Plugins, Prompt
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.classifier import Classifier
from rlaif_rewards.reward_model import RewardModel, Together

ASKED = [
    Prompt(id="plain", text="is it red"),
    Prompt(id="chat", messages=({"role": "user", "content": "is it blue"}, {"role": "assistant", "content": "maybe"})),
]
ROLLOUTS = make_rollouts([("yes", "no it is green"), ("yes", "no")], prompts=ASKED)
REWARD = ("reward",)


def rewards_of(folder: str, *texts: str) -> list[float]:
    """Each text by itself, read at its last token."""
    model, tokeniser = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model.config.pad_token_id = None
    inputs = [tokeniser(text, add_special_tokens=False, return_tensors="pt").input_ids for text in texts]
    with torch.no_grad():
        return [model.eval()(input_ids=ids).logits.item() for ids in inputs]


def values(source: RewardModel) -> list[float]:
    return [outcome.value for outcome in source.score(ROLLOUTS)]


@pytest.mark.parametrize(("family", "pad"), [("llama", "own"), ("gpt2", "none"), ("qwen3", "eos"), ("bert", "own")])
def test_keeps_the_contract(classifier, family: str, pad: str) -> None:
    check_reward(RewardModel(classifier(family, labels=REWARD, pad=pad)))


@pytest.mark.parametrize(("family", "pad"), [("llama", "own"), ("llama", "eos"), ("gpt2", "eos"), ("gpt2", "none")])
def test_reads_the_whole_conversation_at_its_last_token(classifier, family: str, pad: str) -> None:
    folder = classifier(family, labels=REWARD, pad=pad)
    said = ["<user> is it red </s> <assistant> yes </s>", "<user> is it red </s> <assistant> no it is green </s>"]
    said += [f"<user> is it blue </s> <assistant> maybe </s> <assistant> {answer} </s>" for answer in ("yes", "no")]
    expected = rewards_of(folder, *said)
    assert values(RewardModel(folder)) == pytest.approx(expected, abs=1e-5)
    assert len({round(value, 3) for value in expected}) == 4


def test_end_of_sequence_where_the_model_was_trained_with_one(classifier) -> None:
    folder = classifier("llama", labels=REWARD, pad="eos")
    plain = [f"{prompt} {answer}" for prompt, answer in (("is it red", "yes"), ("is it red", "no it is green"))]
    prompts = [Prompt(id="a", text="is it red ")]
    rollouts = make_rollouts([("yes", "no it is green")], prompts=prompts)
    for append_eos, end in ((False, ""), (True, " </s>")):
        source = RewardModel(folder, with_prompt="joined", append_eos=append_eos)
        found = [outcome.value for outcome in source.score(rollouts)]
        assert found == pytest.approx(rewards_of(folder, *(text + end for text in plain)), abs=1e-5)


@pytest.mark.filterwarnings("ignore")  # of another project, which is not ours to mend
@pytest.mark.parametrize("talks", [True, False])
def test_what_trl_trains_says_what_it_said_there(classifier, tmp_path: Path, talks: bool) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    def turn(role: str, text: str) -> Any:
        return [{"role": role, "content": text}] if talks else text

    row = {
        "prompt": turn("user", "is it red "),
        "chosen": turn("assistant", "yes"),
        "rejected": turn("assistant", "no it is green"),
    }
    folder = classifier("llama", labels=REWARD)
    trainer = trl.RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(folder),
        processing_class=AutoTokenizer.from_pretrained(folder),
        args=trl.RewardConfig(str(tmp_path), max_steps=1, use_cpu=True, bf16=False, report_to=[], save_strategy="no"),
        train_dataset=Dataset.from_list([row] * 2),
    )
    trainer.train()
    trainer.save_model(str(tmp_path))
    with torch.no_grad():
        ids = [torch.tensor([trainer.train_dataset[0][f"{which}_ids"]]) for which in ("chosen", "rejected")]
        expected = [trainer.model.eval()(input_ids=its).logits.item() for its in ids]
    messages = ({"role": "user", "content": "is it red "},) if talks else ()
    rollouts = make_rollouts(
        [("yes", "no it is green")], prompts=[Prompt(id="a", text="is it red ", messages=messages)]
    )
    source = RewardModel(str(tmp_path), **({} if talks else {"with_prompt": "joined", "append_eos": True}))
    assert [outcome.value for outcome in source.score(rollouts)] == pytest.approx(expected, abs=1e-5)


def test_centre_and_scale(classifier) -> None:
    folder = classifier("llama", labels=REWARD)
    raw = values(RewardModel(folder))
    assert values(RewardModel(folder, centre=0.5, scale=2.0)) == pytest.approx([2 * (value - 0.5) for value in raw])
    assert RewardModel(folder, centre=9).score(ROLLOUTS)[0].reason == f"the reward model says {raw[0]:.3f}"


@pytest.mark.parametrize("options", [{"scale": math.nan}, {"scale": math.inf}, {"centre": math.nan}])
def test_what_rewards_are_shifted_and_scaled_by_is_finite(classifier, options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"centre is .* and scale .*, but both must be finite numbers"):
        RewardModel(classifier("llama", labels=REWARD), **options)


def test_what_is_too_long_loses_its_beginning_and_says_so(classifier) -> None:
    folder = classifier("llama", labels=REWARD)
    outcome = RewardModel(folder, max_length=3).score(ROLLOUTS)[0]
    assert outcome.value == pytest.approx(rewards_of(folder, "<assistant> yes </s>")[0], abs=1e-5)
    assert outcome.reason.endswith("; 5 tokens did not fit and were not read")


def test_a_random_head_is_refused(classifier) -> None:
    with pytest.raises(ConfigError, match=r"it lacks score.weight, which would be random"):
        RewardModel(classifier("llama", labels=REWARD, head=False))


def test_a_classifier_is_no_reward_model(classifier) -> None:
    with pytest.raises(ConfigError, match=r"has 2 labels \(bad, good\), a reward model has one; name it with 'head'"):
        RewardModel(classifier("llama"))


def test_a_model_without_a_template_is_told_what_to_do(classifier) -> None:
    folder = classifier("llama", labels=REWARD, template=False)
    with pytest.raises(ConfigError, match="set with_prompt to 'joined', 'pair' or 'none'"):
        RewardModel(folder)
    check_reward(RewardModel(folder, with_prompt="joined"))


def test_what_is_not_a_number_is_a_failure(classifier) -> None:
    source = RewardModel(classifier("llama", labels=REWARD))
    source.scorers[0].checkpoint.model.score.weight.fill_(math.inf)
    assert all(isinstance(outcome, Failed) for outcome in source.score(ROLLOUTS))


def copies(classifier, tmp_path, *changes: float) -> list[str]:
    """The same reward model in several folders, the weights of its head moved by so much."""
    from safetensors.torch import load_file, save_file

    folders = []
    for number, change in enumerate(changes):
        folder = tmp_path / f"copy-{number}"
        shutil.copytree(classifier("llama", labels=REWARD), folder)
        weights = load_file(folder / "model.safetensors")
        weights["score.weight"] += change
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        folders.append(str(folder))
    return folders


@pytest.mark.parametrize(
    ("together", "expected"),
    [
        (Together(), fmean),
        (Together(combine="minimum"), min),
        (Together(combine="uncertainty", penalty=2.0), lambda said: fmean(said) - 2 * pvariance(said)),
        (
            Together(combine="soft_minimum", beta=0.5),
            lambda said: -0.5 * math.log(fmean(math.exp(-r / 0.5) for r in said)),
        ),
    ],
)
def test_several_models_say_what_their_combination_makes_of_them(classifier, tmp_path, together, expected) -> None:
    folders = copies(classifier, tmp_path, 0.0, 0.3, -0.2)
    each = zip(*(values(RewardModel(folder)) for folder in folders), strict=True)
    source = RewardModel(folders, together=together)
    assert values(source) == pytest.approx([expected(said) for said in each], abs=1e-6)
    assert source.score(ROLLOUTS)[0].reason.startswith("the reward models say ")
    check_reward(source)


def test_one_member_that_breaks_is_a_failure_of_all(classifier, tmp_path) -> None:
    source = RewardModel(copies(classifier, tmp_path, 0.0, 0.1), together=Together(combine="minimum"))
    source.scorers[1].checkpoint.model.score.weight.fill_(math.nan)
    assert all(isinstance(outcome, Failed) for outcome in source.score(ROLLOUTS))


def test_options_of_several_models_are_options_of_the_table(classifier, tmp_path) -> None:
    folders = copies(classifier, tmp_path, 0.0, 0.1)
    options = {"model": folders, "combine": "soft_minimum", "beta": 0.5, "with_prompt": "none"}
    source = Plugins.load().build("rewards", "reward_model", options)
    assert len(source.scorers) == 2


@pytest.mark.parametrize("options", [{"beta": 0.0}, {"penalty": -1.0}, {"beta": math.nan}])
def test_what_no_combination_can_have_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="beta must be above 0, penalty at least 0, and both finite"):
        Together(**options)


def test_no_model_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="the list of models is empty"):
        RewardModel([])


def test_the_head_that_is_named_is_read_and_the_other_discarded(classifier) -> None:
    folder = classifier("llama", labels=("quality", "length"))
    both = Classifier(folder, label="quality", score="logit", with_prompt="chat").score(ROLLOUTS)
    assert values(RewardModel(folder, head="quality")) == pytest.approx([its.value for its in both])
    with pytest.raises(ConfigError, match=r"has no head 'qualty'; did you mean 'quality'\? Heads: quality, length"):
        RewardModel(folder, head="qualty")
