from __future__ import annotations

import tomllib
from types import SimpleNamespace
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.record import read_rollouts
from rlaif_core.run import check
from rlaif_core.testing import FakePolicy

TABLES: dict[str, Any] = {
    "policy": {"model": "no/such/model"},
    "prompts": {"dataset": "rlaif_lumen.prompts:prompts", "options": {"count": 9, "seed": 0}, "column": "messages"},
    "actions": [{"use": "sample", "max_tokens": 4}],
    "rewards": [{"use": "length", "target": 3}],
    "credit": {"use": "group"},
    "optimiser": {"use": "grpo"},
}


@pytest.fixture(scope="module")
def plugins() -> rl.Plugins:
    return rl.Plugins.load()


def checked(plugins: rl.Plugins, tables: dict[str, Any]) -> Any:
    return check(rl.RunConfig.of({**TABLES, **tables}, "test"), plugins)


def test_a_plan_resolves_names_and_origins_and_loads_no_weights(plugins):
    plan = checked(plugins, {})
    lines = {part: (name, origin) for part, name, origin, _ in plan.lines}
    assert lines["optimiser"] == ("grpo", f"rlaif-core {rl.__version__} (builtins)")
    assert set(lines) == {"policy", "action 1 'sample'", "reward source 'length'", "credit", "optimiser"}


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
        (
            {"optimiser": {"use": "grop"}},
            rl.PluginError,
            r"no plugin offers 'grop' under optimisers; did you mean 'grpo'\? Offered: dpo, grpo",
        ),
        (
            {"rewards": [{"use": "length", "traget": 3}]},
            rl.ConfigError,
            r"reward source 'length': unknown option 'traget'; did you mean 'target'\?",
        ),
        (
            {"actions": [{"use": "sample", "max_tokens": "x"}]},
            rl.ConfigError,
            r"action 'sample': option 'max_tokens' is wrong: input should be a valid integer.*got 'x'",
        ),
        (
            {"optimiser": {"use": "grpo", "warmup": "soon"}},
            rl.ConfigError,
            r"optimiser 'grpo': option 'warmup' is wrong",
        ),
        (
            {"rewards": [{"use": "length", "target": 3, "channel": "cost:long"}]},
            rl.ConfigError,
            r"channel 'cost:long' is scored but optimiser 'grpo' reads only 'reward'; ",
        ),
        (
            {"credit": {"use": "gae"}},
            rl.ConfigError,
            r"credit 'gae' needs values from a critic, but optimiser 'grpo' trains none",
        ),
        (
            {"judges": {"main": {"use": "tiny"}}, "rewards": [{"use": "judge", "judge": "mian"}]},
            rl.ConfigError,
            r"asks judge 'mian', but there is no \[judges\.mian\]; did you mean 'main'\?",
        ),
        (
            {"judges": {"main": {"use": "tiny"}}},
            rl.ConfigError,
            r"\[judges\.main\] is named by no part; name it with judge = 'main', or drop it",
        ),
        ({"run": {"updates": 9}}, rl.ConfigError, r"updates is 9, but a batch has only 8 groups to share out"),
        ({"prompts": {"files": "absent.jsonl"}}, rl.DataError, r"absent\.jsonl: there is no such file"),
        ({"prompts": {"dataset": "nowhere:rows"}}, rl.PluginError, "there is no module 'nowhere' to import"),
        ({"prompts": {"dataset": "json", "map": "rlaif_lumen.prompts:nothing"}}, rl.PluginError, "nothing"),
        ({"optimiser": {"use": "grpo", "low": 7}}, rl.ConfigError, r"low is 7\.0 .*must be in \(0, 1\)"),
        ({"rewards": []}, rl.ConfigError, r"table \[\[rewards\]\] is missing"),
        ({"optimiser": None}, rl.ConfigError, r"table \[optimiser\] is missing"),
        ({"plugins": {"require": ["absent"]}}, rl.PluginError, r"required plugin 'absent' is not installed"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_built(plugins, tables, error, message):
    with pytest.raises(error, match=message):
        checked(plugins, tables)


def test_advice_does_not_depend_on_what_others_offer(tmp_path):
    (tmp_path / "broken.py").write_text(
        "import rlaif_core as rl\n"
        "@rl.hookimpl\ndef rlaif_optimisers(): return rl.Offer('broken', 'no_such_module:Thing', '')\n"
    )
    costly = [{"use": "length", "target": 3, "channel": "cost:length"}]
    with pytest.raises(
        rl.ConfigError, match="channel 'cost:length' is scored but optimiser 'grpo' reads only 'reward'"
    ):
        checked(rl.Plugins.load(files=[tmp_path / "broken.py"]), {"rewards": costly})


def test_an_offer_that_cannot_be_loaded_names_its_plugin(tmp_path):
    (tmp_path / "expired.py").write_text("raise RuntimeError('licence expired')")
    (tmp_path / "lazy.py").write_text(
        "import sys\nimport rlaif_core as rl\nsys.path.insert(0, " + repr(str(tmp_path)) + ")\n"
        "@rl.hookimpl\ndef rlaif_rewards(): return rl.Offer('lazy', 'expired:Thing', '')\n"
    )
    plugins = rl.Plugins.load(files=[tmp_path / "lazy.py"])
    with pytest.raises(RuntimeError, match="licence expired") as raised:
        checked(plugins, {"rewards": [{"use": "lazy", "judge": "x"}]})
    assert any(note.startswith("  in reward source 'lazy' from") for note in raised.value.__notes__)


def test_whoever_is_asked_before_the_first_step_is_named(plugins, tmp_path):
    tables = {"run": {"out": str(tmp_path / "run")}, "prompts": {"batch": 1}, "credit": {"use": "group"}}

    def fails(*_):
        raise ZeroDivisionError("boom")

    for name in ("prepare", "sources", "state_dict"):
        whole = {"step": lambda self, policy, experience: {}}
        optimiser = type("Broken", (rl.Optimiser,), {**whole, name: fails})()
        with pytest.raises(ZeroDivisionError) as raised:
            rl.run(
                rl.RunConfig.of(tables, "test", [f"run.out={tmp_path / name}"]),
                plugins=plugins,
                policy=FakePolicy(),
                prompts=[{"prompt": "yes"}],
                actions=[SimpleNamespace(act=fails)],
                rewards={"brevity": rl.reward(lambda prompt, completion: 1.0)},
                optimiser=optimiser,
                progress=False,
            )
        assert raised.value.__notes__[0] == "  in optimiser"


def test_objects_take_the_place_of_tables(plugins, tmp_path):
    class Sample:
        def act(self, sampler, prompts, draft):
            return sampler.sample(prompts, rl.Sampling(max_tokens=3))

    @rl.reward
    def brevity(prompt: rl.Prompt, completion: str) -> float:
        return -float(len(completion))

    tables = {
        "run": {"steps": 2, "out": str(tmp_path / "run"), "tensorboard": False},
        "prompts": {"batch": 2},
        "credit": {"use": "group"},
        "optimiser": {"use": "grpo"},
    }
    history = rl.run(
        rl.RunConfig.of(tables),
        plugins=plugins,
        policy=FakePolicy(),
        prompts=[{"prompt": "yes"}, rl.Prompt(id="x", text="no")],
        actions=[Sample()],
        rewards={"brevity": brevity},
        progress=False,
    )
    assert [step["step"] for step in history] == [1, 2]
    assert history[-1]["reward/brevity"] == history[-1]["reward"] <= 0
    with pytest.raises(rl.ConfigError, match=r"run\(\) takes no 'polcy'; did you mean 'policy'\?"):
        rl.run(rl.RunConfig.of(tables), polcy=FakePolicy())


def test_what_a_run_leaves_behind(plugins, tmp_path):
    tables = {
        "run": {"steps": 2, "out": str(tmp_path / "run")},
        "prompts": {"batch": 2},
        "actions": [{"use": "sample", "max_tokens": 3}],
        "rewards": [{"use": "length", "target": 2}],
        "credit": {"use": "group"},
        "optimiser": {"use": "grpo"},
    }
    folder = rl.run(
        rl.RunConfig.of(tables),
        plugins=plugins,
        policy=FakePolicy(),
        prompts=[{"prompt": "yes"}, {"prompt": "no"}],
        progress=False,
    ).folder
    left = sorted(entry.name for entry in folder.iterdir())
    assert left == [
        "checkpoints",
        "config.toml",
        "metrics.jsonl",
        "plugins.lock.toml",
        "policy",
        "report.html",
        "rollouts",
        "tensorboard",
    ]
    assert tomllib.loads((folder / "config.toml").read_text())["run"]["steps"] == 2
    locked = tomllib.loads((folder / "plugins.lock.toml").read_text())["offers"]
    origin = f"optimiser 'grpo' from rlaif-core {rl.__version__} (builtins)"
    assert {"part": "optimiser", "origin": origin, "plugin": "builtins"} in locked
    assert FakePolicy.load(folder / "policy").words == FakePolicy().words


def test_the_core_knows_no_algorithm_by_name(repository):
    names = ("grpo", "ppo", "dpo", "reinforce", "leave_one_out")
    for file in (repository / "rlaif_core").rglob("*.py"):
        text = file.read_text().lower()
        assert not [name for name in names if f'"{name}"' in text or f"'{name}'" in text], file


def run_of(tmp_path, *overrides, **objects):
    tables = {
        "run": {"steps": 1, "out": str(tmp_path / "run"), "tensorboard": False},
        "prompts": {"batch": 2, "group": 2},
        "actions": [{"use": "sample", "max_tokens": 3}],
        "rewards": [{"use": "length", "target": 2}],
        "credit": {"use": "group"},
        "optimiser": {"use": "grpo"},
    }
    rows = [{"prompt": "yes"}, {"prompt": "no"}]
    arguments = {"policy": FakePolicy(), "prompts": rows, "progress": False} | objects
    return rl.run(rl.RunConfig.of(tables, "test", overrides), **arguments)


def test_an_object_is_held_to_what_a_table_is(tmp_path):
    from rlaif_builtins.credits.gae import Gae
    from rlaif_builtins.optimisers.grpo import Grpo

    with pytest.raises(rl.ConfigError, match="channel 'cost:long' is scored but optimiser 'Grpo' reads only 'reward'"):
        run_of(tmp_path, 'rewards.0.channel="cost:long"', optimiser=Grpo())
    with pytest.raises(rl.ConfigError, match="credit 'Gae' needs values from a critic, but optimiser 'Grpo' trains"):
        run_of(tmp_path, credit=Gae())
    with pytest.raises(rl.ConfigError, match="the rewards given bring a source 'length', but there is one of that"):
        run_of(tmp_path, rewards={"length": rl.reward(lambda prompt, completion: 0.0)})
    assert not (tmp_path / "run").exists()


def test_rows_given_go_through_the_map_too(tmp_path):
    (tmp_path / "rows.py").write_text("def louder(row):\n    return {'prompt': row['prompt'] + ' ' + row['prompt']}\n")
    folder = run_of(tmp_path, f'prompts.map="{tmp_path}/rows.py:louder"').folder
    assert set(read_rollouts(folder, ["prompt"])["prompt"].to_pylist()) == {"yes yes", "no no"}


def test_a_prompt_is_found_where_prompts_usually_are(tmp_path):
    folder = run_of(tmp_path, prompts=[{"text": "yes"}, {"text": "no"}]).folder
    assert len(rl.resume(folder, policy=FakePolicy(), prompts=[{"text": "yes"}, {"text": "no"}], progress=False)) == 1


def test_the_environment_is_read_everywhere_and_written_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("KIND", "length")
    folder = run_of(tmp_path, "run.out=${PLACE}/run", "rewards.0.use=${KIND}").folder
    assert folder == tmp_path / "elsewhere" / "run"
    assert "reward/length" in rl.resume(folder, policy=FakePolicy(), prompts=[{"prompt": "yes"}, {"prompt": "no"}])[0]
    assert str(tmp_path) not in (folder / "config.toml").read_text()


def test_a_batch_larger_than_the_dataset_is_refused_before_there_is_a_folder(tmp_path):
    with pytest.raises(rl.DataError, match="batch is 3, but there are only 2 prompts; lower batch or add rows"):
        run_of(tmp_path, "prompts.batch=3")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("credit", ["group", "leave_one_out"])
def test_a_credit_that_compares_refuses_prompts_with_one_answer(credit, tmp_path):
    with pytest.raises(rl.TrainingError, match=r"each prompt has only one; raise \[prompts\] group to 2 or more"):
        run_of(tmp_path, "prompts.group=1", f"credit.use={credit}")
