from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlaif_core import ConfigError
from rlaif_core.testing import make_rollouts
from rlaif_rewards.reward_model import RewardModel, Together

REWARD = ("reward",)


def weights_of(source: RewardModel) -> dict[str, torch.Tensor]:
    return dict(source.scorers[0].checkpoint.model.named_parameters())


def averaged(*folders: str, **options: str) -> RewardModel:
    return RewardModel(list(folders), together=Together(average=True), **options)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_mean_of_copies_is_the_copy_bit_for_bit(classifier, count: int) -> None:
    folder = classifier("llama", labels=REWARD)
    mean, one = weights_of(averaged(*[folder] * count)), weights_of(RewardModel(folder))
    assert mean.keys() == one.keys()
    assert all(torch.equal(mean[name], one[name]) for name in one)


def test_every_weight_is_the_mean_and_one_model_is_asked(classifier, tmp_path: Path) -> None:
    first = classifier("llama", labels=REWARD)
    second = str(tmp_path / "second")
    shutil.copytree(first, second)
    weights = {name: its + torch.randn_like(its) for name, its in load_file(f"{second}/model.safetensors").items()}
    save_file(weights, f"{second}/model.safetensors", metadata={"format": "pt"})
    source = averaged(first, second)
    assert len(source.scorers) == 1
    ours, theirs = weights_of(RewardModel(first)), weights_of(RewardModel(second))
    for name, mean in weights_of(source).items():
        torch.testing.assert_close(mean, (ours[name] + theirs[name]) / 2)
    assert source.score(make_rollouts())[0].reason.startswith("the reward model says")


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"family": "gpt2", "labels": REWARD}, "a GPT2ForSequenceClassification, not a Llama"),
        ({"family": "llama", "labels": REWARD, "embeddings": 20}, "of another shape, first in model.embed_tokens"),
        ({"family": "llama", "labels": ("other",)}, "one with the labels other"),
    ],
)
def test_what_is_no_neighbour_is_refused(classifier, other: dict[str, object], what: str) -> None:
    folder = classifier(other.pop("family"), **other)
    with pytest.raises(ConfigError) as error:
        averaged(classifier("llama", labels=REWARD), folder)
    assert what in str(error.value)
    assert "average models that were trained from one start, or combine what they say" in str(error.value)
