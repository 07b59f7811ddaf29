from __future__ import annotations

import copy
from typing import NamedTuple

import pytest

import rlaif_core as rl
from rlaif_core.config import RunConfig
from rlaif_core.options import checked

GOOD = """
[run]
seed = 7
steps = 20
out = "runs/first"
[policy]
model = "some/folder"
dtype = "bfloat16"
[prompts]
files = "prompts.jsonl"
column = "question"
[[actions]]
use = "sample"
max_tokens = 16
[judges.main]
use = "tiny"
[[rewards]]
use = "judge"
judge = "main"
[[rewards]]
use = "length"
name = "short"
weight = 0.5
channel = "cost:length"
[credit]
use = "group"
[optimiser]
use = "grpo"
lr = 1e-6
"""


@pytest.fixture
def load(tmp_path):
    def load(text: str, *overrides: str) -> RunConfig:
        path = tmp_path / "first.toml"
        path.write_text(text)
        return RunConfig.load(path, overrides)

    return load


def test_tables_and_their_defaults(load):
    config = load(GOOD)
    assert config.run.seed == 7
    assert config.policy.use == "transformers"
    assert config.policy.options == {"model": "some/folder", "dtype": "bfloat16"}
    assert config.actions[0].options == {"max_tokens": 16}
    assert [reward.name for reward in config.rewards] == ["judge", "short"]
    assert config.rewards[1].channel == "cost:length"
    assert config.optimiser is not None
    assert config.optimiser.options == {"lr": 1e-6}


def test_a_built_in_model_is_a_policy_of_that_name(load):
    config = load(GOOD.replace('model = "some/folder"', 'model = "builtin:tiny"'))
    assert config.policy.use == "tiny"
    assert config.policy.options == {"dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[optimiser]", "[optimizer]", r"first\.toml: unknown table \[optimizer\]; did you mean \[optimiser\]\?"),
        ("steps = 20", "stepps = 20", r"first\.toml: unknown key 'stepps' in \[run\]; did you mean 'steps'\?"),
        (
            "steps = 20",
            "steps = 0",
            r"first\.toml: \[run\] 'steps' is wrong: input should be greater than or equal to 1",
        ),
        (
            'column = "question"',
            f"batch = {10**20}",
            r"'batch' is wrong: input should be less than or equal to 1000000",
        ),
        (
            'column = "question"',
            f"group = {10**20}",
            r"'group' is wrong: input should be less than or equal to 1000000",
        ),
        ("steps = 20", 'steps = "many"', r"\[run\] 'steps' is wrong: .*got 'many'"),
        ('channel = "cost:length"', 'channel = "costs"', r"a channel is 'reward' or 'cost:NAME'"),
        ('name = "short"', 'name = "judge"', r"two \[\[rewards\]\] are called 'judge'; give each its own name"),
        ('use = "sample"\n', "", r"\[actions\] needs the key 'use'"),
        ("weight = 0.5", "weight = nan", r"\[rewards\] '1\.weight' is wrong"),
        ("seed = 7", "seed = ", r"first\.toml: not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(load, old, new, message):
    with pytest.raises(rl.ConfigError, match=message):
        load(GOOD.replace(old, new, 1))


def test_a_missing_file(tmp_path):
    with pytest.raises(rl.ConfigError, match=r"absent\.toml: cannot be read \(No such file or directory\)"):
        RunConfig.load(tmp_path / "absent.toml")


def test_overrides_are_toml_and_reach_into_lists(load):
    config = load(
        GOOD, "run.steps=3", "rewards.1.weight=2.5", "optimiser.lr=1e-3", "run.out=elsewhere", 'plugins.require=["x"]'
    )
    assert (config.run.steps, config.rewards[1].weight, config.run.out) == (3, 2.5, "elsewhere")
    assert config.optimiser is not None
    assert config.optimiser.options["lr"] == 1e-3
    assert config.plugins.require == ["x"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.steps", r"--set run\.steps: write --set table\.key=value"),
        ("rewards.7.weight=1", r"--set rewards\.7\.weight=1: there is no 'rewards\.7\.weight'"),
        ("rewards.weight=1", r"lists take a number, as in rewards\.0\.weight"),
        ("run.stepps=1", r"unknown key 'stepps' in \[run\]; did you mean 'steps'"),
    ],
)
def test_wrong_overrides(load, override, message):
    with pytest.raises(rl.ConfigError, match=message):
        load(GOOD, override)


def test_variables_are_read_late_and_never_written_down(load, monkeypatch):
    config = load(GOOD.replace("prompts.jsonl", "${DATA_FOLDER}/prompts.jsonl"))
    with pytest.raises(
        rl.ConfigError, match=r"refers to \$\{DATA_FOLDER\}, but the environment variable DATA_FOLDER is not set"
    ):
        config.expanded()
    monkeypatch.setenv("DATA_FOLDER", "/secret/place")
    assert config.expanded().prompts.files == "/secret/place/prompts.jsonl"
    assert "/secret/place" not in str(config.tables())


def test_tables_read_back_as_the_same_config(load):
    config = load(GOOD)
    assert RunConfig.of(config.tables()) == config


def test_one_table_where_there_may_be_several():
    with pytest.raises(rl.ConfigError, match=r"\[rewards\] is one table, but .*; write \[\[rewards\]\]"):
        rl.RunConfig.of({"rewards": {"use": "length"}}, "test")


def test_what_the_environment_held_is_not_shown(monkeypatch):
    plugins = rl.Plugins.load()
    monkeypatch.setenv("KEY", "sk-secret")
    tables = {"rewards": [{"use": "function", "path": "${KEY}x", "options": {"key": "${KEY}"}}]}
    expanded = rl.RunConfig.of(tables).expanded()
    assert expanded.rewards[0].options["options"]["key"] == "sk-secret"
    assert "secret" not in repr(expanded.rewards[0].options)
    options = expanded.rewards[0].options
    assert copy.deepcopy(options) == options
    assert "secret" not in repr(copy.deepcopy(options))
    with pytest.raises(rl.ConfigError, match=r"'timeout' is wrong.*got '\$\{KEY\}'"):
        plugins.options("rewards", "function", options | {"timeout": options["options"]["key"]})


def test_a_part_gets_the_text_itself(monkeypatch):
    monkeypatch.setenv("KEY", "sk-secret")
    written = {"key": "${KEY}", "many": {"keys": ["${KEY}", 1]}}
    options = rl.RunConfig.of({"credit": {"use": "mine", **written}}).expanded().credit.options
    given = checked(lambda key, many: None, options, "credit 'mine'")
    assert given == {"key": "sk-secret", "many": {"keys": ["sk-secret", 1]}}
    assert {type(given["key"]), type(given["many"]["keys"][0])} == {str}


def test_a_part_gets_what_its_type_hint_makes_of_a_list():
    class Range(NamedTuple):
        low: float
        high: float

    def build(between: Range) -> None: ...

    build.__annotations__ = {"between": Range}
    assert checked(build, {"between": [0, 1]}, "credit 'mine'") == {"between": Range(0, 1)}
