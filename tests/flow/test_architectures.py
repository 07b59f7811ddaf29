"""Every architecture goes through check, run and resume, from the command line to an ordinary folder of weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import checkpoints
from rlaif_core import checkpoint
from rlaif_core.cli import main
from rlaif_core.testing.compare import leaves, same

CONFIG = """
[run]
seed = 5
steps = 3
save_every = 1
tensorboard = false
[policy]
model = "{folder}/model"
device = "cpu"
[prompts]
dataset = "{folder}/rows.py:rows"
batch = 2
group = 3
[[actions]]
use = "sample"
max_tokens = 6
[[rewards]]
use = "regex"
pattern = "[ea]"
[[rewards]]
use = "length"
target = 5
[credit]
use = "{credit}"
[optimiser]
use = "{optimiser}"
lr = 1e-2
"""
ROWS = "def rows():\n    return [{'prompt': text} for text in ('what is this?', 'no', 'then sing on')]\n"


@pytest.fixture(params=checkpoints.ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    return request.param


def written(tmp_path: Path, optimiser: str = "grpo", credit: str = "group") -> Path:
    (tmp_path / "rows.py").write_text(ROWS)
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(folder=tmp_path, optimiser=optimiser, credit=credit))
    return path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    with checkpoints.quiet():
        return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_check_run_and_resume(architecture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints.checkpoint(tmp_path / "model", architecture)
    config = written(tmp_path)
    assert main(["check", str(config)]) == 0
    assert "grpo" in capsys.readouterr().out

    straight, cut = tmp_path / "straight", tmp_path / "cut"
    assert main(["run", str(config), "--strict", "--out", str(straight)]) == 0
    steps = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3]
    # The ratio of fresh weights is 1, and so is the KL to themselves 0, whatever the cache or the window.
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert steps[0]["clip_fraction"] == 0
    assert steps[-1]["kl"] > 1e-4

    modes = {path.stat().st_mode for path in (straight / "policy").rglob("*") if path.is_file()}
    assert modes == {(straight / "config.toml").stat().st_mode}

    trained, initial = weights(straight / "policy"), weights(tmp_path / "model")
    assert trained.keys() == initial.keys()
    assert any(not torch.equal(trained[name], initial[name]) for name in initial)
    assert len(AutoTokenizer.from_pretrained(straight / "policy")) == len(checkpoints.tokeniser())

    shutil.copytree(straight, cut)
    for later in (2, 3):
        shutil.rmtree(cut / "checkpoints" / f"step-{later}")
    shutil.rmtree(cut / "policy")
    assert main(["resume", str(cut)]) == 0
    after, before = (dict(leaves(checkpoint.load(folder / "checkpoints")[1], "")) for folder in (cut, straight))
    assert after.keys() == before.keys()
    assert [name for name in after if not same(after[name], before[name])] == []
    assert all(torch.equal(value, trained[name]) for name, value in weights(cut / "policy").items())


@pytest.mark.parametrize(("optimiser", "credit"), [("ppo", "gae"), ("reinforce", "leave_one_out"), ("dpo", "group")])
def test_every_optimiser_trains_a_transformers_model(optimiser: str, credit: str, tmp_path: Path) -> None:
    checkpoints.checkpoint(tmp_path / "model", "qwen3")
    assert main(["run", str(written(tmp_path, optimiser, credit)), "--out", str(tmp_path / "run")]) == 0
    trained, initial = weights(tmp_path / "run" / "policy"), weights(tmp_path / "model")
    still = [name for name in initial if torch.equal(trained[name], initial[name])]
    assert not still, f"{optimiser} left these as they were: {still}"
