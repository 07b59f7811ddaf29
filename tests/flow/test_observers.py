"""Observers in a run: their metrics, what they remember, and how they end it in good order."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.cli import main
from rlaif_core.record import read_metrics
from rlaif_core.testing import FakePolicy

COUNTS = """
import rlaif_core as rl

class Counts:
    "Count the answers seen, and stop before the step in which there would be more than `most`."

    def __init__(self, most: int = 1000) -> None:
        self.most, self.seen = most, 0

    def observe(self, step, experience):
        self.seen += len(experience.rollouts)
        if self.seen > self.most:
            raise rl.Stop(f"{self.seen} answers are more than {self.most}")
        return {"seen": self.seen}

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]

@rl.hookimpl
def rlaif_observers():
    yield rl.Offer("counts", Counts, "how many answers there were")
"""


@pytest.fixture
def plugins(tmp_path: Path) -> rl.Plugins:
    (tmp_path / "counts.py").write_text(COUNTS)
    return rl.Plugins.load(files=[tmp_path / "counts.py"])


@pytest.fixture
def observed(config: Callable[..., rl.RunConfig]) -> Callable[..., rl.RunConfig]:
    """A config with the observer `counts`, 8 answers a step."""

    def build(*changes: str, most: int = 1000) -> rl.RunConfig:
        tables = config("grpo", "group", *changes).tables()
        return rl.RunConfig.of({**tables, "observers": [{"use": "counts", "most": most}]})

    return build


def timeless(history: Any) -> list[dict[str, float]]:
    return [{k: v for k, v in step.items() if k not in ("seconds", "tokens_per_second")} for step in history]


class Looks:
    def __init__(self, said: Callable[[int], Mapping[str, float]]) -> None:
        self.said = said

    def observe(self, step: int, experience: rl.Experience) -> Mapping[str, float]:
        return self.said(step)


def test_what_they_report_is_recorded_and_they_take_part_by_name(observed: Any, train: Any, plugins: Any) -> None:
    history = train(observed(), plugins=plugins)
    assert [step["seen"] for step in history] == [8, 16, 24, 32, 40, 48]
    assert [step["seen"] for step in read_metrics(history.folder)] == [8, 16, 24, 32, 40, 48]
    assert history.ended is None
    lock = tomllib.loads((history.folder / "plugins.lock.toml").read_text())["offers"]
    assert [entry["origin"].split(" from ")[0] for entry in lock if entry["part"] == "observer 1 'counts'"] == [
        "observer 'counts'"
    ]


def test_a_share_of_the_rollouts_is_observed_where_each_is_learnt_from(observed: Any, train: Any, plugins: Any) -> None:
    history = train(observed("run.updates=2"), plugins=plugins)
    assert [step["seen"] for step in history] == [4, 8, 12, 16, 20, 24]


@pytest.mark.parametrize("step", [1, 4])
def test_what_they_remember_is_in_the_checkpoint(
    step: int, observed: Any, train: Any, go_on: Any, plugins: Any
) -> None:
    straight = train(observed(), plugins=plugins)
    again = go_on(straight.folder, step=step, plugins=plugins)
    assert timeless(again) == timeless(straight)


def test_a_wish_to_stop_ends_the_run_in_good_order(observed: Any, train: Any, go_on: Any, plugins: Any) -> None:
    history = train(observed("run.save_every=0", most=20), plugins=plugins)
    folder = history.folder
    assert history.ended == "24 answers are more than 20"
    assert len(history) == 2
    assert (folder / "policy").is_dir()
    assert (folder / "report.html").exists()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-2"]
    ended_again = go_on(folder, plugins=plugins)
    assert (ended_again.ended, len(ended_again)) == (history.ended, 2)


def test_a_run_that_was_ended_goes_on_as_if_it_had_not_been(
    observed: Any, train: Any, go_on: Any, plugins: Any, tmp_path: Path
) -> None:
    whole = train(observed(), plugins=plugins)
    short = observed(f'run.out="{tmp_path / "short"}"', most=20)
    folder = train(short, plugins=plugins).folder
    on = go_on(folder, plugins=plugins, changes=["observers.0.most=1000"])
    assert on.ended is None
    assert timeless(on) == timeless(whole)


def test_a_run_may_end_before_its_first_step(observed: Any, train: Any, plugins: Any) -> None:
    history = train(observed(most=1), plugins=plugins)
    assert (len(history), history.ended) == (0, "8 answers are more than 1")
    assert (history.folder / "policy").is_dir()


def test_objects_take_their_place_and_are_asked_for_again(config: Any, train: Any, go_on: Any) -> None:
    observers = [Looks(lambda step: {"twice": 2.0 * step}), Looks(lambda step: {"thrice": 3.0 * step})]
    history = train(config(), observers=observers)
    assert [(step["twice"], step["thrice"]) for step in history][:2] == [(2, 3), (4, 6)]
    with pytest.raises(
        rl.CheckpointError, match=r"observer 1 'Looks' was an object.*resume\(folder, observers=\[...\]\)"
    ):
        go_on(history.folder)
    assert len(go_on(history.folder, step=3, observers=observers)) == 6


@pytest.mark.parametrize(
    ("observers", "error", "complaint"),
    [
        ([Looks(lambda step: {"reward": 1.0})], rl.PluginError, "an observer reports 'reward', which there is already"),
        (
            [Looks(lambda step: {"x": 1.0})] * 2,
            rl.PluginError,
            "it reports 'x', as another observer does; name it other",
        ),
        (
            [Looks(lambda step: {"x": float("inf")})],
            rl.PluginError,
            "metric 'x' is inf; whoever reports it must keep it",
        ),
        ([Looks(lambda step: 3)], rl.PluginError, "observe returned int; an observer returns metrics by name"),
        ([Looks(lambda step: {}[step])], KeyError, "1"),
    ],
)
def test_one_that_breaks_stops_the_run_before_anything_is_learnt(
    observers: list[Looks], error: type[Exception], complaint: str, config: Any, tmp_path: Path
) -> None:
    policy = FakePolicy()
    before = {name: its.clone() for name, its in policy.module.state_dict().items()}
    with pytest.raises(error, match=complaint) as raised:
        rl.run(config(), policy=policy, prompts=[{"prompt": "a"}, {"prompt": "b"}], observers=observers, progress=False)
    assert any("step 1" in note for note in raised.value.__notes__)
    assert all((its == before[name]).all() for name, its in policy.module.state_dict().items())


def test_strict_names_the_observer_that_writes(config: Any, train: Any) -> None:
    class Writes:
        def observe(self, step: int, experience: rl.Experience) -> Mapping[str, float]:
            experience.advantages["reward"].zero_()
            return {}

    with pytest.raises(rl.PluginError) as raised:
        train(config("grpo", "group", "run.strict=true"), observers=[Writes()])
    assert any("observer 1 'Writes'" in note for note in raised.value.__notes__)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "counts.py"
    plugin.write_text(
        COUNTS + "\nfrom rlaif_core.testing import FakePolicy\n@rl.hookimpl\ndef rlaif_policies():\n"
        "    yield rl.Offer('fake', FakePolicy, 'six words')\n"
    )
    rows = [json.dumps({"prompt": text}) for text in ("is it red", "yes or no")]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "run.toml").write_text(
        f'[run]\nsteps = 4\nout = "{tmp_path}/run"\ntensorboard = false\n[policy]\nuse = "fake"\n'
        f'[prompts]\nfiles = "{tmp_path}/rows.jsonl"\nbatch = 2\n[[actions]]\nuse = "sample"\nmax_tokens = 3\n'
        '[[rewards]]\nuse = "length"\ntarget = 2\n[credit]\nuse = "group"\n[optimiser]\nuse = "reinforce"\nlr = 0.1\n'
        '[[observers]]\nuse = "counts"\nmost = 20\n'
    )
    with_file = ["--plugin", str(plugin)]
    assert main(["check", str(tmp_path / "run.toml"), *with_file]) == 0
    assert any("observer 1 'counts'" in line and "most = 20" in line for line in capsys.readouterr().out.splitlines())
    assert main(["plugins", "--kind", "observer", *with_file]) == 0
    assert "how many answers there were" in capsys.readouterr().out
    assert main(["show", "observer:counts", *with_file]) == 0
    assert "Count the answers seen" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "run.toml"), *with_file, "--set", "observers.0.mosst=1"]) == 1
    assert "unknown option 'mosst'; did you mean 'most'?" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "run.toml"), *with_file]) == 0
    said = capsys.readouterr()
    assert f"2 steps in {tmp_path}/run" in said.out
    assert "ended early: 24 answers are more than 20" in said.err
    assert main(["resume", str(tmp_path / "run"), *with_file]) == 0
    assert "ended early: 24 answers are more than 20" in capsys.readouterr().err
