from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import datasets
import pytest

from rlaif_core.cli import main

JUDGE = """
import os, time

def counting(question, log, pause=0.0):
    time.sleep(pause)
    with open(log, "a") as file:
        file.write(question.prompt.id + "\\n")
    return [0.0, 1.0] if len(question.answers[1]) > len(question.answers[0]) else [1.0, 0.0]
"""
CONFIG = """
[prompts]
files = "{folder}/rows.jsonl"
[judges.main]
use = "function"
path = "{folder}/judge.py:counting"
options = {{ log = "{folder}/asked.txt", pause = {pause} }}
[label]
what = ["preferences"]
out = "{folder}/out"
batch = 4
"""
COUNT = 40


@pytest.fixture
def config(tmp_path: Path) -> Path:
    rows = [{"id": f"p{n}", "prompt": "?", "chosen": "x" * (n % 3 + 1), "rejected": "yyyy"} for n in range(COUNT)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "judge.py").write_text(JUDGE)
    (tmp_path / "label.toml").write_text(CONFIG.format(folder=tmp_path, pause=0.02))
    return tmp_path / "label.toml"


def started(config: Path) -> subprocess.Popen[str]:
    """A labelling in a process of its own, some of whose questions have been asked."""
    program = [sys.executable, "-m", "rlaif_core", "label", str(config)]
    environment = os.environ | {"RLAIF_PLUGINS": ""}
    process = subprocess.Popen(program, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    journal = config.parent / "out" / "journal.jsonl"
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 8):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def asked(config: Path) -> Counter[str]:
    return Counter((config.parent / "asked.txt").read_text().split())


def test_it_says_what_became_of_the_labels(config: Path, capsys) -> None:
    assert main(["label", str(config)]) == 0
    said = capsys.readouterr().out
    assert "preferences  main   40" in said
    assert f"40 rows in {config.parent}/out/preferences" in said
    assert main(["label", str(config), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["labels"][0]["gold_accuracy"] == 0.0  # it likes the longer answer, and `chosen` is the shorter one
    assert set(asked(config).values()) == {1}


def test_killed_at_once_it_goes_on_and_asks_again_only_what_was_under_way(config: Path) -> None:
    process = started(config)
    process.kill()
    process.communicate()
    assert not (config.parent / "out" / "preferences").exists()
    before = asked(config)
    assert 0 < len(before) < COUNT
    assert main(["label", str(config)]) == 0
    assert len(asked(config)) == COUNT
    assert sum(asked(config).values()) - COUNT <= 4  # no more than a batch
    assert len(datasets.load_from_disk(str(config.parent / "out" / "preferences"))) == COUNT


def test_interrupted_it_keeps_what_is_under_way_and_says_how_to_go_on(config: Path) -> None:
    process = started(config)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"go on with: rlaif label {config}" in said
    assert "Traceback" not in said
    assert main(["label", str(config)]) == 0
    assert sum(asked(config).values()) == COUNT  # nothing twice


def test_two_at_once_do_not_pay_for_the_same(config: Path, capsys) -> None:
    process = started(config)
    assert main(["label", str(config)]) == 1
    assert "is in use by another process" in capsys.readouterr().err
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_overrides_another_folder_and_a_new_beginning(config: Path, capsys) -> None:
    out = str(config.parent / "other")
    assert main(["label", str(config), "--out", out, "--set", "prompts.limit=2"]) == 0
    assert len(datasets.load_from_disk(f"{out}/preferences")) == 2
    assert main(["label", str(config), "--out", out, "--set", "prompts.limit=3"]) == 1
    said = capsys.readouterr().err
    assert "different in prompts.limit, the prompts" in said
    assert f"rlaif label {config} --set prompts.limit=3 --out {out} --anew" in said
    assert main(["label", str(config), "--out", out, "--set", "prompts.limit=3", "--anew"]) == 0
    assert len(datasets.load_from_disk(f"{out}/preferences")) == 3


def test_an_error_of_the_judge_says_whose_it_is_and_what_is_kept(config: Path, capsys) -> None:
    (config.parent / "judge.py").write_text("def counting(question, **_):\n    raise OSError('no route to host')\n")
    assert main(["label", str(config)]) == 1
    said = capsys.readouterr().err
    assert "no route to host" in said
    assert "in judge 'main'" in said
    assert f"what was said before is kept in {config.parent}/out; go on with: rlaif label {config}" in said


def test_another_judge_function_is_another_judge(config: Path, capsys) -> None:
    assert main(["label", str(config)]) == 0
    (config.parent / "judge.py").write_text(JUDGE + "\n# mended\n")
    assert main(["label", str(config)]) == 1
    assert "different in what judges.main.path names" in capsys.readouterr().err


def test_its_help_says_what_it_is_for(capsys) -> None:
    assert main(["label", "--help"]) == 0
    said = capsys.readouterr().out
    assert "Label a whole dataset as CONFIG says" in said
    assert "--anew" in said
