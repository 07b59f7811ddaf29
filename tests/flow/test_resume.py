"""Six steps straight equal k steps, a resume, and the rest: bit for bit, at every save point, for each optimiser."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

import checkpoints
import rlaif_core as rl
from rlaif_core import checkpoint, files
from rlaif_core.policy import TransformersPolicy
from rlaif_core.record import read_metrics, read_rollouts
from rlaif_core.testing import FakePolicy
from rlaif_core.testing.compare import leaves, same

CASES = {
    "grpo": ("grpo", "group", ["optimiser.epochs=2", "optimiser.schedule=cosine"]),
    "grpo, half-used buffer": ("grpo", "group", ["run.updates=2"]),
    "grpo, shaped rewards": (
        "grpo",
        "group",
        [
            'rewards.0.shape=[{kind="length_free"}, {kind="standardise"}, {kind="bounded", reference="first"}]',
        ],
    ),
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


@pytest.mark.parametrize("controller", [[], ["optimiser.kl_target=0.1", "optimiser.kl_horizon=50"]])
def test_a_changed_kl_weight_holds_and_is_steered_from_there(controller, config, train, go_on):
    folder = train(config("ppo", "gae", "optimiser.kl=0.05", *controller)).folder
    changed = go_on(folder, changes=["optimiser.kl=0.5", "run.steps=8"])
    weights = [step["kl_weight"] for step in changed]
    assert weights[6] == 0.5
    assert (weights[7] == 0.5) == (not controller)
    shutil.rmtree(folder / "checkpoints" / "step-8")
    assert timeless(go_on(folder)) == timeless(changed)


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


@pytest.mark.parametrize(
    "lock",
    [
        "offers = 3",
        "offers = [1]",
        "[[offers]]\npart = 'credit'\norigin = 'x'",
        "offers =",
        "[[offers]]\npart = 'credit'\norigin = 'x'\nplugin = 'x'\nfiles = 3",
    ],
)
def test_a_damaged_lock_is_named(lock, config, train, go_on):
    folder = train(config()).folder
    (folder / "plugins.lock.toml").write_text(lock)
    with pytest.raises(rl.CheckpointError, match=r"plugins\.lock\.toml cannot be read .*restore it, or start"):
        go_on(folder)


def test_a_plugin_of_another_version_is_refused(config, train, go_on):
    folder = train(config()).folder
    lock = folder / "plugins.lock.toml"
    lock.write_text(lock.read_text().replace(f"rlaif-core {rl.__version__}", "rlaif-core 0.0.9"))
    with pytest.raises(rl.CheckpointError, match=r"rlaif-core 0\.0\.9 .* when the run started .* install that version"):
        go_on(folder)


FUNCTION = "def score(prompt, completion): return {sign}len(completion)\n"


def test_a_file_that_a_part_reads_is_the_one_it_was(config, tmp_path, train, go_on):
    file = tmp_path / "mine.py"
    file.write_text(FUNCTION.format(sign="-"))
    folder = train(config("grpo", "group", f'rewards.0={{use="function", path="{file}:score"}}')).folder
    assert str(file) not in (folder / "plugins.lock.toml").read_text()
    rewards = [step["reward"] for step in read_metrics(folder)]
    file.write_text(FUNCTION.format(sign="+"))
    said = r"reward source 'function': what its option 'path' names has changed .* restore it, .*resume with --mended"
    with pytest.raises(rl.CheckpointError, match=said):
        go_on(folder, step=3)
    after = [step["reward"] for step in go_on(folder, step=3, mended=True)]
    assert after[:3] == rewards[:3]
    assert all(before < 0 < now for before, now in zip(rewards[3:], after[3:], strict=True))
    assert len(go_on(folder)) == 6  # it is the mended one that took part from there on


@pytest.mark.parametrize("named", ['"{}"', '["other", "{}"]'])
def test_a_model_folder_is_the_one_it_was(named, config, tmp_path, train, go_on):
    model, file = tmp_path / "model", tmp_path / "sized.py"
    file.write_text(
        "import rlaif_core as rl\n@rl.reward\ndef sized(prompt, completion, *, model=''): return len(completion)\n"
    )
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "chat_template.jinja").write_text("{{ messages }}")
    plugins = {"plugins": rl.Plugins.load(files=[file])}
    folder = train(config("grpo", "group", f'rewards.0={{use="sized", model={named.format(model)}}}'), **plugins).folder
    (model / "README.md").write_text("What is said of it does not matter.")
    assert len(go_on(folder, step=3, **plugins)) == 6
    (model / "chat_template.jinja").write_text("{{ messages }} ")
    with pytest.raises(rl.CheckpointError, match="what its option 'model' names has changed"):
        go_on(folder, **plugins)


def test_texts_that_happen_to_name_a_place_are_texts(config, tmp_path, train, go_on, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    folder = train(
        config("grpo", "group", 'rewards.0={use="keywords", want=["yes", "~approx", ".", "config.json"]}')
    ).folder
    (tmp_path / "config.json").write_text("[]")
    assert len(go_on(folder, step=3)) == 6


def test_another_file_may_be_named_by_a_change(config, tmp_path, train, go_on):
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text(FUNCTION.format(sign="-"))
    other.write_text(FUNCTION.format(sign="+"))
    folder = train(config("grpo", "group", f'rewards.0={{use="function", path="{one}:score"}}')).folder
    changed = go_on(folder, step=3, changes=[f"rewards.0.path={other}:score"])
    assert changed[-1]["reward"] > 0
    other.write_text(FUNCTION.format(sign="-"))
    with pytest.raises(rl.CheckpointError, match="names has changed since the run started"):
        go_on(folder)


def test_a_part_that_was_mended_may_be_another_version(config, tmp_path, train, go_on):
    file = tmp_path / "brief.py"
    file.write_text("import rlaif_core as rl\n@rl.reward\ndef brief(prompt, completion): return 1 / 0\n")
    its = config("grpo", "group", 'rewards.0={use="brief"}')
    with pytest.raises(ZeroDivisionError):
        train(its, plugins=rl.Plugins.load(files=[file]))
    file.write_text(file.read_text().replace("1 / 0", "len(completion)"))
    with pytest.raises(rl.CheckpointError, match="if the change is meant, resume with --mended"):
        go_on(Path(its.run.out), plugins=rl.Plugins.load(files=[file]))
    assert len(go_on(Path(its.run.out), plugins=rl.Plugins.load(files=[file]), mended=True)) == 6
    (tmp_path / "elsewhere").mkdir()
    file = file.rename(tmp_path / "elsewhere" / "brief.py")
    assert len(go_on(Path(its.run.out), plugins=rl.Plugins.load(files=[file]), mended=True)) == 6
    with pytest.raises(rl.CheckpointError, match=r"'brief' was .*not there now: say --plugin FILE again"):
        go_on(Path(its.run.out), mended=True)


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


@rl.reward
def brief(_prompt: rl.Prompt, completion: str) -> float:
    return -len(completion)


@rl.reward
def long(_prompt: rl.Prompt, completion: str) -> float:
    return len(completion)


def test_objects_are_asked_for_again(config, train, go_on):
    folder = train(config(), rewards={"brief": brief}).folder
    again = r"resume it from Python with that object: rlaif_core.resume\(folder, rewards=\{...\}\)"
    with pytest.raises(rl.CheckpointError, match=rf"reward source 'brief' was an object, a \S+\.brief; {again}"):
        go_on(folder)
    with pytest.raises(
        rl.CheckpointError, match=r"was \S+\.brief when the run started but is \S+\.long now; resume it"
    ):
        go_on(folder, rewards={"brief": long})
    with pytest.raises(
        rl.CheckpointError, match=r"reward source 'more' \(\S+\.long\) took no part when the run started"
    ):
        go_on(folder, rewards={"brief": brief, "more": long})
    with pytest.raises(
        rl.CheckpointError, match=r"policy was an object, a rlaif_core.testing.*resume.folder, policy=...."
    ):
        rl.resume(folder, rewards={"brief": brief})
    assert len(go_on(folder, changes=["run.steps=7"], rewards={"brief": brief})) == 7


class Passes:
    """Draws answers, or hands on those drawn before it; counts how often."""

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def act(self, sampler, prompts, draft):
        self.count += 1
        return draft or sampler.sample(prompts, rl.Sampling(max_tokens=3))

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_two_actions_of_one_class_keep_a_state_each(config, train, go_on):
    folder = train(config(), actions=[Passes(), Passes(100)]).folder
    again = [Passes(), Passes()]
    go_on(folder, changes=["run.steps=8"], actions=again)
    assert [action.count for action in again] == [8, 108]


def test_fresh_adapters_are_resumed_with_an_object_made_anew(config, tmp_path, pairs):
    objects = {"prompts": pairs, "rewards": {"brief": brief}, "progress": False}

    def policy(**model):
        folder = tmp_path / f"model {model}"
        return TransformersPolicy(
            folder if folder.exists() else checkpoints.checkpoint(folder, **model), device="cpu", lora={"r": 4}
        )

    straight = rl.run(config("grpo", "group", "run.steps=3"), policy=policy(), **objects)
    cut = shutil.copytree(straight.folder, tmp_path / "cut")
    shutil.rmtree(cut / "checkpoints" / "step-3")
    with pytest.raises(rl.CheckpointError, match="the model that the policy starts from is not the one"):
        rl.resume(cut, policy=policy(spread=0.21), **objects)
    assert timeless(rl.resume(cut, policy=policy(), **objects)) == timeless(straight)
    one, other = (dict(leaves(checkpoint.load(its / "checkpoints")[1], "")) for its in (cut, straight.folder))
    assert one.keys() == other.keys()
    assert [name for name in one if not same(one[name], other[name])] == []


def test_a_part_is_kept(config, train, go_on):
    folder = train(config()).folder
    with pytest.raises(
        rl.CheckpointError, match=r"'reinforce' from .* now; a resumed run keeps its parts: change it back"
    ):
        go_on(folder, changes=["optimiser.use=reinforce"])
    with pytest.raises(rl.CheckpointError, match=r"reward source 'brief' .* took no part when the run started"):
        go_on(folder, rewards={"brief": brief})


def test_a_change_holds_although_the_run_is_killed_before_its_next_checkpoint(config, train, go_on):
    folder = train(config("grpo", "group", "run.save_every=0")).folder

    class Killed(BaseException):
        pass

    plugins = rl.Plugins.load()
    plugins.tell = lambda event, **_: (_ for _ in ()).throw(Killed) if event == "rlaif_run_started" else None
    with pytest.raises(Killed):
        go_on(folder, changes=["run.steps=8", "optimiser.lr=0.01"], plugins=plugins)
    assert "lr = 0.01" in (folder / "config.toml").read_text()
    history = go_on(folder)
    assert len(history) == 8
    assert history[-1]["lr"] == 0.01


def test_a_checkpoint_is_written_again_only_where_its_config_changed(config, train, go_on):
    folder = train(config("grpo", "group", "run.save_every=0")).folder
    place = folder / "checkpoints" / "step-6"
    before = place.stat().st_ino
    go_on(folder, changes=["run.steps=7", "run.save_every=5"])
    assert place.stat().st_ino == before
    go_on(folder, step=6, changes=["optimiser.lr=0.01"])
    assert place.stat().st_ino != before


def test_a_checkpoint_that_was_being_replaced_is_put_back(config, train, go_on):
    folder = train(config("grpo", "group", "run.save_every=0")).folder
    place = folder / "checkpoints" / "step-6"
    place.rename(place.with_name(".step-6.old"))
    assert [step["step"] for step in go_on(folder, changes=["run.steps=7"])] == [1, 2, 3, 4, 5, 6, 7]
    assert not place.with_name(".step-6.old").exists()


def test_a_run_is_not_shortened_behind_where_it_stands(config, train, go_on):
    folder = train(config()).folder
    before = (folder / "config.toml").read_bytes()
    with pytest.raises(rl.ConfigError, match=r"run.steps is 4, but the run is at step 6 already; go back with --step"):
        go_on(folder, changes=["run.steps=4"])
    assert (folder / "config.toml").read_bytes() == before
    assert len(go_on(folder, step=3, changes=["run.steps=4"])) == 4


def test_values_that_equal_nothing_and_dates_are_the_same_after_a_resume(config, train, go_on, tmp_path):
    (tmp_path / "mine.py").write_text("def score(prompt, completion, missing, since):\n    return len(completion)\n")
    reward = {"use": "function", "path": f"{tmp_path}/mine.py:score"}
    options = "rewards.0.options={missing = nan, since = [2024-01-01, 12:30:00]}"
    made = config(
        "grpo", "group", *[f'rewards.0.{key}="{value}"' for key, value in reward.items()], "rewards.0.want=[]"
    )
    tables = made.tables() | {"rewards": [reward]}
    folder = train(rl.RunConfig.of(tables, "test", [options])).folder
    assert len(go_on(folder, changes=["run.steps=7"])) == 7


def test_what_was_taken_out_of_the_folder_is_said(config, train, go_on, capsys):
    folder = train(config()).folder
    lines = (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_bytes(b"".join(lines[:1] + lines[3:]))
    (folder / "rollouts" / "step-000002.parquet").unlink()
    (folder / "rollouts" / "step-000003 (copy).parquet").write_bytes(b"not ours")
    go_on(folder, changes=["run.steps=7"])
    said = capsys.readouterr().err
    assert "metrics.jsonl lacks steps 2, 3; the run goes on without them" in said
    assert "rollouts lacks steps 2; the run goes on" in said


def test_one_process_at_a_time(config, train, go_on):
    folder = train(config()).folder
    before = (folder / "config.toml").read_bytes()
    with (
        files.claimed(folder),
        pytest.raises(rl.RlaifError, match=f"{folder} is in use by another process; wait until"),
    ):
        go_on(folder, changes=["run.steps=9"])
    assert (folder / "config.toml").read_bytes() == before
    assert len(go_on(folder, changes=["run.steps=7"])) == 7


def test_a_judge_keeps_what_it_remembers(config, train, go_on, tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE", "main")
    plugin = tmp_path / "asks.py"
    plugin.write_text(JUDGE)
    plugins = rl.Plugins.load(files=[plugin])
    tables = config().tables() | {
        "judges": {"main": {"use": "counting"}},
        "rewards": [{"use": "asked", "judge": "${JUDGE}"}],
    }
    straight = train(rl.RunConfig.of(tables), plugins=plugins)
    shutil.rmtree(straight.folder / "checkpoints" / "step-6")
    go_on(straight.folder, plugins=rl.Plugins.load(files=[plugin]))
    state = checkpoint.load(straight.folder / "checkpoints")[1]
    assert state["parts"]["judge 'main'"] == {"asked": 6 * 8}


JUDGE = """
import rlaif_core as rl

class Counting:
    asked = 0
    def ask(self, questions):
        self.asked += len(questions)
        return [rl.Verdict(outcomes=tuple(rl.Score(len(a)) for a in q.answers)) for q in questions]
    def state_dict(self):
        return {"asked": self.asked}
    def load_state_dict(self, state):
        self.asked = state["asked"]

class Asked:
    def __init__(self, judge):
        self.judge = judge
    def score(self, rollouts):
        pairs = zip(rollouts.prompts, rollouts.completions)
        said = self.judge.ask([rl.Question(prompt=p, answers=(c,)) for p, c in pairs])
        return [verdict.outcomes[0] for verdict in said]

@rl.hookimpl
def rlaif_judges():
    return [rl.Offer("counting", Counting, "counts")]

@rl.hookimpl
def rlaif_rewards():
    return [rl.Offer("asked", Asked, "asks")]
"""
