"""The nine-line plugin as a stranger would install it: from its own wheel, beside rlaif-core's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

CONFIG = """
[run]
seed = 1
steps = 12
out = "{folder}/run"
tensorboard = false
[policy]
model = "{folder}/model"
[prompts]
files = "{folder}/prompts.jsonl"
batch = 4
group = 8
[[actions]]
use = "sample"
max_tokens = 16
[[rewards]]
use = "brevity"
[credit]
use = "group"
[optimiser]
use = "grpo"
lr = 0.01
"""


def small_model(folder: Path) -> None:
    """A random causal language model over thirty tokens, which knows nothing yet, not even when to stop."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", "<unk>", " ", *"abcdefghijklmnopqrstuvwxyz"]
    letters = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    letters.decoder = decoders.Fuse()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=letters, **special).save_pretrained(folder)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words), **shape, **ends)).save_pretrained(folder)


def test_it_is_nine_lines(repository: Path) -> None:
    files = sorted((repository / "plugins" / "rlaif-brevity").glob("*.*"))
    assert [path.name for path in files] == ["pyproject.toml", "rlaif_brevity.py"]
    assert sum(bool(line.strip()) for path in files for line in path.read_text().splitlines()) == 9


def test_it_is_listed_with_its_origin(installed: Any) -> None:
    offers = json.loads(installed.run("rlaif", "plugins", "--json"))["offers"]
    (mine,) = [offer for offer in offers if offer["name"] == "brevity"]
    assert mine["kind"] == "rewards"
    assert (mine["distribution"], mine["version"], mine["plugin"]) == ("rlaif-brevity", "0.1", "brevity")
    assert {offer["distribution"] for offer in offers} == {"rlaif-core", "rlaif-brevity"}


def test_it_can_be_blocked_by_name(installed: Any) -> None:
    offers = json.loads(installed.run("rlaif", "plugins", "--json", "--no-plugin", "brevity"))["offers"]
    assert "brevity" not in {offer["name"] for offer in offers}
    assert offers


def test_a_policy_learns_from_it(installed: Any, tmp_path: Path) -> None:
    small_model(tmp_path / "model")
    prompts = [json.dumps({"prompt": f"say {letter}"}) for letter in "abcdefgh"]
    (tmp_path / "prompts.jsonl").write_text("\n".join(prompts))
    (tmp_path / "run.toml").write_text(CONFIG.format(folder=tmp_path))
    installed.run("rlaif", "run", tmp_path / "run.toml")
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(steps) == 12
    first, last = ([step["reward/brevity"] for step in part] for part in (steps[:3], steps[-3:]))
    assert sum(last) > sum(first) / 2  # rewards are negative: half as long
    assert steps[-1]["length"] < steps[0]["length"]
    lock = (tmp_path / "run" / "plugins.lock.toml").read_text()
    assert "rlaif-brevity" in lock
