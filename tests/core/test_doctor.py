from __future__ import annotations

import json
import os
from typing import Any

import pytest

import rlaif_core as rl
import rlaif_kernels as rk
from rlaif_core.cli import main
from rlaif_core.doctor import HIDDEN, examine, rendered, switches
from rlaif_kernels import dispatch


def test_the_report_holds_versions_devices_kernels_and_plugins() -> None:
    found = examine()
    assert found["versions"]["rlaif-core"].startswith(rl.__version__)
    assert found["versions"]["torch"].partition("+")[0] == __import__("torch").__version__.partition("+")[0]
    assert f"{os.cpu_count()} cores" in found["devices"]["cpu"]
    assert found["kernels"] == rk.build_info()
    assert "offers" in found["plugins"][f"rlaif-core {rl.__version__} (builtins)"]


def test_it_is_printed_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) in (0, 1)
    assert {"versions", "devices", "kernels", "plugins", "environment", "notes", "problems"} == set(
        json.loads(capsys.readouterr().out)
    )
    assert main(["doctor"]) in (0, 1)
    said = capsys.readouterr().out
    assert "\n\nkernels\n  torch: " in said


def test_the_missing_native_kernels_are_said_aloud_and_are_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "REQUIRED", "")
    monkeypatch.setattr(rk, "build_info", lambda: {"torch": "2", "native": "absent: no compiler"})
    found = examine()
    assert "the pure-Python fallback is in use" in found["notes"]["native kernels"]
    assert "RLAIF_REQUIRE=native" in rendered(found)
    assert not any("native" in name for name in found["problems"])


def test_nothing_is_said_of_native_kernels_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rk, "build_info", lambda: {"torch": "2", "native": "GNU 12"})
    assert "native kernels" not in examine()["notes"]


def test_a_requirement_that_is_not_met_is_a_problem_and_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dispatch, "REQUIRED", "abacus")
    assert "no such backend" in examine()["problems"]["RLAIF_REQUIRE=abacus"]
    assert main(["doctor"]) == 1
    assert "RLAIF_REQUIRE=abacus: no such backend" in capsys.readouterr().out


def test_plugins_that_fail_and_verbs_that_break_are_problems(distribution: Any) -> None:
    verbs = "import rlaif_core as rl\n@rl.hookimpl\ndef rlaif_commands(app): raise OSError('no terminal')"
    distribution("rlaif-broken", {"broken": "broken_import"}, {"broken_import": "1 / 0"})
    distribution("rlaif-verbs", {"verbs": "broken_verbs"}, {"broken_verbs": verbs})
    found = examine()
    assert found["plugins"]["rlaif-broken 1.0 (broken)"] == "failed to load"
    assert found["problems"]["plugin rlaif-broken 1.0 (broken)"] == "ZeroDivisionError: division by zero"
    assert found["problems"]["verbs of plugin rlaif-verbs 1.0 (verbs)"] == "OSError: no terminal"


def test_what_is_not_loaded_is_noted(distribution: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution("rlaif-other", {"other": "other_plugin"}, {"other_plugin": "1 / 0"})
    monkeypatch.setenv("RLAIF_PLUGINS", "")
    assert examine()["notes"]["plugin other"] == "not loaded: not among RLAIF_PLUGINS="


def test_secrets_are_never_read_out() -> None:
    shown = switches(
        {
            "OPENAI_API_KEY": "sk-secret",
            "HF_TOKEN": "hf_secret",
            "RLAIF_JUDGE_PASSWORD": "secret",
            "HF_ENDPOINT": "https://me:secret@hub.example/api",
            "RLAIF_REQUIRE": "native",
            "TOKENIZERS_PARALLELISM": "false",
            "HOME": "/home/me",
            "MY_SECRET_PLAN": "secret",
        }
    )
    assert "secret" not in json.dumps(list(shown.values()))
    assert shown == {
        "HF_ENDPOINT": "https://(hidden)@hub.example/api",
        "HF_TOKEN": HIDDEN,
        "OPENAI_API_KEY": HIDDEN,
        "RLAIF_JUDGE_PASSWORD": HIDDEN,
        "RLAIF_REQUIRE": "native",
        "TOKENIZERS_PARALLELISM": "false",
    }


def test_text_of_several_lines_stays_under_its_title() -> None:
    assert rendered({"problems": {"plugin x": "Error: a\n  in b"}, "notes": {}}) == (
        "problems\n  plugin x: Error: a\n      in b\n\nnotes\n  none"
    )
