from __future__ import annotations

import json

import pytest

import rlaif_core as rl
from rlaif_core.cli import main
from rlaif_core.testing import FakePolicy


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run that is paid for saying yes."""
    out = tmp_path_factory.mktemp("runs") / "run"
    tables = {
        "run": {"steps": 12, "out": str(out), "tensorboard": False},
        "prompts": {"batch": 2, "group": 8},
        "actions": [{"use": "sample", "max_tokens": 5}],
        "rewards": [{"use": "keywords", "want": ["yes"]}],
        "credit": {"use": "group"},
        "optimiser": {"use": "reinforce", "lr": 0.05},
    }
    prompts = [{"prompt": "is it red"}, {"prompt": "one"}]
    return rl.run(rl.RunConfig.of(tables), policy=FakePolicy(), prompts=prompts, progress=False).folder


def said(*arguments, capsys):
    assert main([str(its) for its in arguments]) == 0
    return capsys.readouterr().out


def test_what_pays_is_named_with_its_share_before_and_now(folder, capsys):
    found = json.loads(said("exploits", folder, "--last", 6, "--json", capsys=capsys))
    assert next((its["kind"], its["name"]) for its in found if its["gap"] > 0) == ("phrase", "yes")
    (yes,) = [its for its in found if its["name"] == "yes"]
    assert yes["share"] > yes["before"]
    assert "'yes'" in said("exploits", folder, "--last", 6, capsys=capsys)


def test_a_folder_without_a_run_is_refused(tmp_path):
    from rlaif_core.errors import ConfigError
    from rlaif_guards.command import exploits

    with pytest.raises(ConfigError, match=r"is not a run folder"):
        exploits(tmp_path, last=20, longest=3, level=0.01, top=20, as_json=False)
