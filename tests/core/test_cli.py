from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.cli import OWN, main

VERBS = """
import rlaif_core as rl

@rl.hookimpl
def rlaif_commands(app):
    @app.command()
    def greet(loudly: bool = False) -> None:
        "Say hello."
        print("HELLO" if loudly else "hello")

    @app.command()
    def smash() -> None:
        raise RuntimeError("no greeting left")

    @app.command()
    def refuse() -> None:
        raise rl.DataError("there is nobody to greet")

    @app.command()
    def wait() -> None:
        raise KeyboardInterrupt("stopped while waiting; go on with: rlaif greet")
"""
CONFIG = """
[run]
steps = 2
out = "{folder}/run"
tensorboard = false
[policy]
use = "fake"
[prompts]
dataset = "{folder}/prompts.py:rows"
batch = 2
group = 2
[[actions]]
use = "sample"
max_tokens = 4
[[rewards]]
use = "length"
target = 2
[credit]
use = "group"
[optimiser]
use = "reinforce"
lr = 0.1
"""
FAKE = """
import rlaif_core as rl

@rl.hookimpl
def rlaif_policies():
    yield rl.Offer("fake", "rlaif_core.testing:FakePolicy", "some hundred parameters")
"""


@pytest.fixture
def greeter(distribution: Any) -> None:
    distribution("rlaif-greeter", {"greeter": "greeter"}, {"greeter": VERBS}, "2.0")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "prompts.py").write_text("def rows():\n    return [{'prompt': 'is it red'}, {'prompt': 'yes or no'}]\n")
    (tmp_path / "fake.py").write_text(FAKE)
    (tmp_path / "run.toml").write_text(CONFIG.format(folder=tmp_path))
    return tmp_path / "run.toml"


def test_help_lists_every_verb_and_says_which_are_of_plugins(greeter: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f" {verb} " in said for verb in (*OWN, "greet", "smash"))
    assert "From rlaif-greeter 2.0 (greeter)" in said


def test_without_a_verb_the_help_comes_with_the_code_for_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: rlaif" in capsys.readouterr().out


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rlaif {rl.__version__}\n"


def test_a_plugin_s_verb_runs(greeter: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["greet", "--loudly"]) == 0
    assert capsys.readouterr().out == "HELLO\n"


def test_an_error_of_ours_is_one_clean_paragraph(greeter: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["refuse"]) == 1
    said = capsys.readouterr()
    assert said.err.endswith("DataError: there is nobody to greet\n")
    assert "Traceback" not in said.err
    assert said.out == ""


def test_a_stranger_s_error_has_its_type_and_the_way_to_its_traceback(
    greeter: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["smash"]) == 1
    said = capsys.readouterr().err
    assert "RuntimeError: no greeting left\n" in said
    assert "RLAIF_TRACEBACK=1 shows the way there" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("verb", "error"), [("smash", RuntimeError), ("refuse", rl.DataError)])
def test_the_traceback_is_there_for_those_who_ask(
    greeter: None, monkeypatch: pytest.MonkeyPatch, verb: str, error: type[Exception]
) -> None:
    monkeypatch.setenv("RLAIF_TRACEBACK", "1")
    with pytest.raises(error):
        main([verb])


def test_an_interruption_ends_with_130_and_what_it_had_to_say(
    greeter: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["wait"]) == 130
    assert "stopped while waiting; go on with: rlaif greet" in capsys.readouterr().err


def test_a_plugin_whose_verbs_break_breaks_nothing_else(distribution: Any, capsys: pytest.CaptureFixture[str]) -> None:
    source = "import rlaif_core as rl\n@rl.hookimpl\ndef rlaif_commands(app): raise OSError('no terminal')"
    distribution("rlaif-broken", {"broken": "broken_verbs"}, {"broken_verbs": source})
    assert main(["--help"]) == 0
    said = capsys.readouterr()
    assert "warning: the verbs of plugin rlaif-broken 1.0 (broken) are missing. OSError: no terminal" in said.err
    assert " plugins " in said.out


def test_a_plugin_cannot_take_a_verb_of_ours(distribution: Any, capsys: pytest.CaptureFixture[str]) -> None:
    source = VERBS.replace("def greet", "def doctor").replace("HELLO", "no doctor")
    distribution("rlaif-thief", {"thief": "thief"}, {"thief": source})
    assert main(["--help"]) == 0
    assert "plugin rlaif-thief 1.0 (thief) offers a verb 'doctor', which is rlaif's own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["plugin"], "Did you mean 'plugins'?"),
        (["run"], "Missing argument 'CONFIG'"),
        (["run", "a.toml", "--stric"], "No such option"),
        (["show", "length"], "is not KIND:NAME; write for example"),
        (["resume", "run", "--step", "two"], "Invalid value for '--step'"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert complaint in capsys.readouterr().err


def test_a_config_is_checked_and_the_plan_printed_with_origins(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = str(config.parent / "fake.py")
    assert main(["check", str(config), "--plugin", fake, "--set", "rewards.0.target=7"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:4] for line in lines if line[0] == "policy"] == [["policy", "fake", fake, "file"]]
    assert ["credit", "group", "rlaif-core", rl.__version__, "(builtins)"] in lines
    assert any(line[-6:-3] == ["target", "=", "7"] for line in lines)
    assert not (config.parent / "run").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            "optimiser.use=reinforse",
            "no plugin offers 'reinforse' under optimisers; did you mean 'reinforce'?",
        ),
        (
            "optimiser.lr=fast",
            "optimiser 'reinforce': option 'lr' is wrong: input should be a valid number",
        ),
        ("rewards.0.targt=3", "unknown option 'targt'; did you mean 'target'?"),
        ("run.stepz=3", "unknown key 'stepz' in [run]; did you mean 'steps'?"),
        ("steps", "--set steps: write --set table.key=value"),
    ],
)
def test_a_config_that_cannot_work_is_told_before_anything_is_loaded(
    config: Path, change: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = str(config.parent / "fake.py")
    assert main(["check", str(config), "--plugin", fake, "--set", change]) == 1
    assert complaint in capsys.readouterr().err


def test_a_file_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nowhere.toml"]) == 1
    assert capsys.readouterr().err.startswith("ConfigError: nowhere.toml: cannot be read (No such file")


def test_run_resume_and_report_from_the_command_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake, out = str(config.parent / "fake.py"), config.parent / "out here"
    plugin = ["--plugin", fake]
    assert main(["run", str(config), *plugin, "--out", str(out), "--strict", "--set", "run.save_every=1"]) == 0
    assert f"2 steps in {out}; look at {out / 'report.html'}" in capsys.readouterr().out
    assert main(["resume", str(out), *plugin, "--step", "1"]) == 0
    assert "2 steps in" in capsys.readouterr().out
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out == f"{out / 'report.html'}\n"
    assert main(["run", str(config), *plugin, "--out", str(out)]) == 1
    assert "already holds a run" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["report", "resume"])
def test_a_folder_without_a_run_is_told(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, str(tmp_path)]) == 1
    assert f"{tmp_path} is not a run folder: it has no config.toml" in capsys.readouterr().err


def test_plugins_are_listed_by_kind_with_failures_last(distribution: Any, capsys: pytest.CaptureFixture[str]) -> None:
    distribution("rlaif-broken", {"broken": "broken_import"}, {"broken_import": "1 / 0"})
    assert main(["plugins", "--kind", "credit"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["kind", "name", "what", "it", "does", "from"]
    assert [line.split()[1] for line in lines[1:] if line.startswith("credit")] == sorted(
        line.split()[1] for line in lines[1:] if line.startswith("credit")
    )
    assert "rlaif-broken 1.0 (broken) failed to load:" in lines[-2:]
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_plugins_are_listed_for_programs(distribution: Any, capsys: pytest.CaptureFixture[str]) -> None:
    distribution("rlaif-broken", {"broken": "broken_import"}, {"broken_import": "1 / 0"})
    assert main(["plugins", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (length,) = [offer for offer in found["offers"] if offer["name"] == "length"]
    assert (length["kind"], length["plugin"], length["distribution"]) == ("rewards", "rewards", "rlaif-core")
    assert found["failures"]["rlaif-broken 1.0 (broken)"] == "ZeroDivisionError: division by zero"


def test_a_blocked_plugin_is_not_listed(greeter: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--no-plugin", "builtins"]) == 0
    assert "(builtins)" not in capsys.readouterr().out
    assert main(["plugins", "--no-plugin", "greter"]) == 1
    assert "no such plugin; did you mean 'greeter'?" in capsys.readouterr().err


def test_one_offer_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "reward:length"]) == 0
    singular = capsys.readouterr().out
    assert main(["show", "rewards:length"]) == 0
    assert capsys.readouterr().out == singular
    assert singular.startswith(f"reward source 'length' from rlaif-core {rl.__version__} (rewards)\n")


def test_a_new_plugin_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "reward", "my-taste", "--out", str(tmp_path)]) == 0
    assert f"pip install -e '{tmp_path / 'rlaif-my-taste'}[test]'" in capsys.readouterr().out
    assert main(["new", "reward", "my-taste", "--out", str(tmp_path)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "rlaif_core", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"rlaif {rl.__version__}\n"


def test_a_plugin_file_that_no_table_uses_is_warned_about(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    idle = config.parent / "idle.py"
    idle.write_text("import rlaif_core as rl\n@rl.reward\ndef idle(prompt, completion): return 0.0\n")
    fake = str(config.parent / "fake.py")
    assert main(["check", str(config), "--plugin", fake, "--plugin", str(idle)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"warning: {idle} offers 'idle', which no table of the config uses" in said
    assert "'fake'" not in said


def test_whose_mistake_it_was_and_where(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = config.parent / "broken.py"
    broken.write_text("import rlaif_core as rl\ndef oh(:\n")
    assert main(["check", str(config), "--plugin", str(broken)]) == 1
    said = capsys.readouterr().err
    assert f"  in plugin file {broken}\n  at {broken}:2\n" in said
    assert "not expected" not in said
