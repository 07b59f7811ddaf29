"""Every snippet of the README runs as written."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import rlaif_core as rl
from faulty_server import FaultyServer, scored
from rlaif_core.cli import main
from rlaif_core.plugins import Origin, module_of

QUESTIONS = ("hello !", "what is your name ?", "how do you feel ?", "are you sure ?")


@pytest.fixture(scope="module")
def snippets(repository: Path) -> list[tuple[str, str]]:
    text = (repository / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```(sh|toml|python)\n(.*?)```", text, re.DOTALL)


def containing(snippets: list[tuple[str, str]], kind: str, words: str) -> str:
    (found,) = [text for its, text in snippets if its == kind and words in text]
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snippets: list[tuple[str, str]]) -> Path:
    """A folder with the README's own config and four questions."""
    (tmp_path / "first.toml").write_text(containing(snippets, "toml", "first.toml"))
    rows = "".join(f'{{"question": "{question}"}}\n' for question in QUESTIONS)
    (tmp_path / "prompts.jsonl").write_text(rows)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_no_snippet_goes_untested(snippets):
    assert [kind for kind, _ in snippets] == ["sh", "toml", "sh", "python", "toml", "python", "toml", "python"]


def test_the_two_commands_are_targets_of_the_makefile(snippets, repository):
    commands = re.findall(r"^make (\w+)", containing(snippets, "sh", "make demo"), re.MULTILINE)
    assert commands == ["demo", "test"]
    makefile = (repository / "Makefile").read_text()
    assert all(re.search(rf"^{command}:", makefile, re.MULTILINE) for command in commands)


def test_check_run_and_resume(snippets, place):
    shell = containing(snippets, "sh", "rlaif check")
    (questions,) = re.findall(r"^printf .*$", shell, re.MULTILINE)
    (place / "prompts.jsonl").unlink()
    subprocess.run(questions, shell=True, check=True, cwd=place)
    assert len((place / "prompts.jsonl").read_text().splitlines()) == 4
    commands = re.findall(r"^rlaif (.*?)(?:\s+#.*)?$", shell, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["check", "run", "resume"]
    check, run, resume = (command.split() for command in commands)
    assert main(check) == 0
    assert main([*run, "--set", "run.steps=2"]) == 0
    left = {entry.name for entry in (place / "runs" / "first").iterdir()}
    assert {"report.html", "metrics.jsonl", "rollouts", "tensorboard", "checkpoints", "policy"} <= left
    config = place / "runs" / "first" / "config.toml"
    config.write_text(config.read_text().replace("steps = 2", "steps = 3"))
    assert main(resume) == 0


def test_python(snippets, place, capsys):
    exec(containing(snippets, "python", "RunConfig.load"), {})  # noqa: S102 - it is our own README
    assert capsys.readouterr().out.strip().endswith("runs/python")


def test_the_nine_line_plugin_is_the_one_that_is_shipped(snippets, repository):
    folder = repository / "plugins" / "rlaif-brevity"
    project = containing(snippets, "toml", "rlaif-brevity")
    module = containing(snippets, "python", "@rl.reward")
    assert (folder / "rlaif_brevity.py").read_text() == module
    assert tomllib.loads((folder / "pyproject.toml").read_text())["project"] == tomllib.loads(project)["project"]
    assert len([line for line in (project + module).splitlines() if line.strip()]) == 9


def test_a_loose_plugin_file_learns(snippets, place):
    (place / "brevity.py").write_text(containing(snippets, "python", "@rl.reward"))
    (place / "brief.toml").write_text(
        (place / "first.toml").read_text().replace('use = "length"\ntarget = 6', 'use = "brevity"')
    )
    assert main(["run", "brief.toml", "--plugin", "brevity.py", "--set", "run.steps=2"]) == 0
    plugins = rl.Plugins()
    plugins.add(module_of(place / "brevity.py"), Origin("brevity", "brevity.py", "local file"))
    assert plugins.find("rewards", "brevity").offer.name == "brevity"


def test_a_judge_behind_a_server(snippets, place):
    judged = containing(snippets, "toml", "[judges.main]")
    reward = '[[rewards]]                 # summed, by weight\nuse = "length"\ntarget = 6\n'
    first = (place / "first.toml").read_text()
    assert reward in first
    (place / "helpful.md").write_text("## Kind\nIs it kind?\n1. no\n2. yes\n## True\nIs it true?\n")

    def said(seen):
        asked = seen.body["messages"][-1]["content"]
        labels = re.findall(r"\w", re.search(r"Answer with one of (.*), and with nothing else", asked)[1])
        chosen, share = len(asked) % len(labels), 0.5 / (len(labels) - 1)
        return scored({label: 0.5 if at == chosen else share for at, label in enumerate(labels)}, labels[chosen])

    with FaultyServer(said) as server:
        tables = judged.replace("http://localhost:8000/v1", server.url)
        (place / "judged.toml").write_text(first.replace(reward, "") + tables)
        assert main(["check", "judged.toml"]) == 0
        assert main(["run", "judged.toml", "--set", "run.steps=2"]) == 0
        assert {seen.body["model"] for seen in server.seen} == {"judge"}


def test_kernels(snippets, capsys):
    exec(containing(snippets, "python", "import rlaif_kernels"), {})  # noqa: S102 - it is our own README
    assert "torch" in capsys.readouterr().out


def test_what_it_says_is_offered_is_offered(repository):
    table = re.findall(
        r"^\| (policies|actions|rewards|judges|credits|optimisers|observers) \| (.*) \|$",
        (repository / "README.md").read_text(),
        re.MULTILINE,
    )
    plugins = rl.Plugins.load()
    for kind, cell in table:
        assert sorted(re.findall(r"`(\w+)`", cell)) == [listing.offer.name for listing in plugins.listings(kind)]
