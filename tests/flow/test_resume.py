"""Six steps straight equal k steps, a resume, and the rest: bit for bit, at every save point, for each optimiser."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

import rlaif_core as rl
from rlaif_core import checkpoint
from rlaif_core.record import read_metrics, read_rollouts
from rlaif_core.testing import FakePolicy
from rlaif_core.testing.compare import leaves, same

CASES = {
    "grpo": ("grpo", "group", ["optimiser.epochs=2", "optimiser.schedule=cosine"]),
    "grpo, half-used buffer": ("grpo", "group", ["run.updates=2"]),
    "reinforce": ("reinforce", "leave_one_out", ["optimiser.warmup=3"]),
    "ppo": ("ppo", "gae", ["optimiser.kl_target=0.1", "optimiser.kl_horizon=50", "optimiser.minibatches=2"]),
    "ppo, half-used buffer": ("ppo", "gae", ["run.updates=2", "optimiser.schedule=linear"]),
    "dpo": ("dpo", "group", []),
}
CLOCK = ("seconds", "tokens_per_second")


def timeless(history):
    return [{name: value for name, value in step.items() if name not in CLOCK} for step in history]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_resume_is_exact_at_every_save_point(case, config, train, go_on):
    optimiser, credit, changes = CASES[case]
    straight = train(config(optimiser, credit, *changes, out="straight"))
    at_the_end = dict(leaves(checkpoint.load(straight.folder / "checkpoints")[1], ""))
    for step in range(1, 6):
        cut = straight.folder.with_name(f"cut-{step}")
        shutil.copytree(straight.folder, cut)
        for later in range(step + 1, 7):
            shutil.rmtree(cut / "checkpoints" / f"step-{later}")
        resumed = go_on(cut)
        assert timeless(resumed) == timeless(straight)
        after = dict(leaves(checkpoint.load(cut / "checkpoints")[1], ""))
        assert after.keys() == at_the_end.keys()
        unequal = [name for name in after if not same(after[name], at_the_end[name])]
        assert not unequal, f"resumed after step {step}, these differ: {unequal}"
        columns = ["step", "prompt_id", "completion", "reward", "advantage", "outcomes"]
        assert read_rollouts(cut, columns).equals(read_rollouts(straight.folder, columns))


def test_resume_crosses_an_epoch_boundary_without_skipping(config, train, go_on):
    # Three prompts, two a step: the second step straddles the first epoch's end.
    straight = train(config(out="straight"))
    seen = [row["prompt_id"] for row in read_rollouts(straight.folder, ["prompt_id"]).to_pylist()[::4]]
    assert len(seen) == 12
    for epoch in range(4):
        assert sorted(seen[3 * epoch : 3 * epoch + 3]) == ["p0", "p1", "p2"]


def test_a_longer_run_may_be_resumed(config, train, go_on):
    folder = train(config("grpo", "group", "run.steps=3")).folder
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace("steps = 3", "steps = 5"))
    assert len(go_on(folder)) == 5
    assert timeless(go_on(folder)) == timeless(train(config("grpo", "group", "run.steps=5", out="straight")))


def test_another_config_is_refused_and_named(config, train, go_on):
    folder = train(config()).folder
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace("lr = 0.05", "lr = 0.5"))
    with pytest.raises(rl.CheckpointError, match=r"of another config, different in optimiser\.lr; restore .*toml"):
        go_on(folder)
    folder = train(config(out="meant")).folder
    assert len(go_on(folder, changes=["optimiser.lr=0.5", "run.steps=8"])) == 8
    assert rl.RunConfig.load(folder / "config.toml").optimiser.options["lr"] == 0.5
    assert len(go_on(folder)) == 8


def test_what_an_error_told_to_raise_may_be_raised(config, train, go_on):
    folder = train(config()).folder
    assert len(go_on(folder, changes=["run.max_failed=0.5", "run.max_idle=0", "run.steps=7"])) == 7


def test_another_branch_forgets_the_one_it_leaves(config, train, go_on):
    folder = train(config("grpo", "group", "run.save_every=1")).folder
    changed = [*go_on(folder, step=3, changes=["run.steps=5", "optimiser.lr=0.5"])]
    assert checkpoint.steps(folder / "checkpoints") == [1, 2, 3, 4, 5]
    assert timeless(go_on(folder)) == timeless(changed)
    assert len(changed) == 5


def test_other_prompts_are_refused(config, train, go_on):
    folder = train(config()).folder
    with pytest.raises(rl.CheckpointError, match="the prompts are not those that the checkpoint was made with"):
        go_on(folder, prompts=[{"id": "p0", "prompt": "is it blue"}, {"id": "p1", "prompt": "two"}])


def test_other_recorded_answers_are_refused(config, train, go_on, pairs):
    folder = train(config("dpo")).folder
    swapped = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in pairs]
    with pytest.raises(rl.CheckpointError, match="the prompts are not those that the checkpoint was made with"):
        go_on(folder, prompts=swapped)


def test_columns_of_any_kind_come_through_a_half_used_buffer(config, train, go_on, pairs):
    rows = [{**row, "at": datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)} for row in pairs]
    folder = train(config("grpo", "group", "run.updates=2"), prompts=rows).folder
    straight = timeless(read_metrics(folder))
    assert timeless(go_on(folder, step=3, prompts=rows)) == straight


def test_a_plugin_file_is_asked_for_again(config, tmp_path, train, go_on):
    file = tmp_path / "brief.py"
    file.write_text("import rlaif_core as rl\n@rl.reward\ndef brief(prompt, completion): return -len(completion)\n")
    its = config("grpo", "group", 'rewards.0={use="brief"}')
    folder = train(its, plugins=rl.Plugins.load(files=[file])).folder
    with pytest.raises(rl.CheckpointError, match=f"started with a plugin file; say so again: --plugin {file}"):
        go_on(folder)
    assert len(go_on(folder, plugins=rl.Plugins.load(files=[file]))) == 6
    file.write_text(file.read_text().replace("-len", "+len"))
    with pytest.raises(rl.CheckpointError, match=f"'brief' was .* when the run started but is .*; restore {file}"):
        go_on(folder, plugins=rl.Plugins.load(files=[file]))


def test_a_plugin_that_is_gone_is_named(config, train, go_on):
    folder = train(config()).folder
    with pytest.raises(rl.CheckpointError, match=r"'sample' from rlaif-core .*not there now: blocked by --no-plugin"):
        go_on(folder, plugins=rl.Plugins.load(block=["builtins"]))
    (folder / "plugins.lock.toml").write_text(
        (folder / "plugins.lock.toml").read_text().replace('plugin = "builtins"', 'plugin = "strangers"')
    )
    with pytest.raises(rl.CheckpointError, match="which is not there now: install it again"):
        go_on(folder)


def test_a_missing_lock_is_named(config, train, go_on):
    folder = train(config()).folder
    (folder / "plugins.lock.toml").unlink()
    with pytest.raises(rl.CheckpointError, match=r"plugins\.lock\.toml cannot be read .*restore it, or start"):
        go_on(folder)


def test_a_plugin_of_another_version_is_refused(config, train, go_on):
    folder = train(config()).folder
    lock = folder / "plugins.lock.toml"
    lock.write_text(lock.read_text().replace(f"rlaif-core {rl.__version__}", "rlaif-core 0.0.9"))
    with pytest.raises(rl.CheckpointError, match=r"rlaif-core 0\.0\.9 .* when the run started .* install that version"):
        go_on(folder)


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_offered(file, config, train, go_on):
    folder: Path = train(config()).folder
    path = folder / "checkpoints" / "step-6" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(rl.CheckpointError, match=r"step-6.* damaged.*resume with --step 5"):
        go_on(folder)
    assert len(go_on(folder, step=5)) == 6


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_again(tmp_path, config, train, go_on):
    with pytest.raises(rl.CheckpointError, match=r"not a run folder: it has no config\.toml"):
        go_on(tmp_path)
    folder = train(config()).folder
    straight, answers = timeless(read_metrics(folder)), read_rollouts(folder)
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(rl.CheckpointError, match="there is no checkpoint; without --step the run starts again"):
        rl.resume(folder, step=4, policy=FakePolicy(), prompts=[{"prompt": "one"}])
    assert timeless(go_on(folder)) == straight
    assert read_rollouts(folder).equals(answers)
