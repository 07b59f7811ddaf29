"""Whatever stops a run, what was learnt is kept: kill -9, Ctrl-C, a full disk, a part that raises."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rlaif_core as rl
from rlaif_builtins.optimisers.grpo import Grpo
from rlaif_builtins.optimisers.update import Adam
from rlaif_core import checkpoint, files
from rlaif_core.plugins import Origin
from rlaif_core.record import read_metrics
from rlaif_core.testing import FakePolicy

SCRIPT = """
import sys, time
import rlaif_core as rl
from rlaif_core.testing import FakePolicy

class Slow:
    def score(self, rollouts):
        time.sleep(float(sys.argv[3]))
        return [float("yes" in text) for text in rollouts.completions]

tables = {
    "run": {"seed": 3, "steps": int(sys.argv[2]), "out": sys.argv[1], "save_every": 1, "tensorboard": False},
    "prompts": {"batch": 2, "group": 4},
    "actions": [{"use": "sample", "max_tokens": 5}],
    "credit": {"use": "group"},
    "optimiser": {"use": "grpo", "lr": 0.05},
}
rows = [{"id": str(n), "prompt": text} for n, text in enumerate(("is it red", "yes or no", "one and two"))]
objects = {"policy": FakePolicy(), "prompts": rows, "rewards": {"slow": Slow()}, "progress": False}
try:
    rl.resume(sys.argv[1], **objects) if "resume" in sys.argv else rl.run(rl.RunConfig.of(tables), **objects)
except KeyboardInterrupt as stop:
    print(stop)
    sys.exit(130)
"""


def start(folder: Path, steps: int, pause: float, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(folder), str(steps), str(pause), *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def finished(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=120)
    return process.returncode


def wait_for(path: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.005)


def timeless(folder: Path) -> list[dict[str, float]]:
    return [
        {k: v for k, v in line.items() if k not in ("seconds", "tokens_per_second")} for line in read_metrics(folder)
    ]


def test_kill_9_loses_at_most_the_step_since_the_last_checkpoint(tmp_path):
    straight = start(tmp_path / "straight", 5, 0)
    killed = start(tmp_path / "killed", 5, 0.3)
    for step, pause in ((1, 0.3), (3, 0)):
        wait_for(tmp_path / "killed" / "checkpoints" / f"step-{step}")
        killed.kill()
        assert finished(killed) == -signal.SIGKILL
        saved = checkpoint.steps(tmp_path / "killed" / "checkpoints")[-1]
        assert saved >= step
        assert len(read_metrics(tmp_path / "killed")) - saved <= 1
        killed = start(tmp_path / "killed", 5, pause, "resume")
    assert finished(killed) == 0
    assert finished(straight) == 0
    assert timeless(tmp_path / "killed") == timeless(tmp_path / "straight")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to kill a process at a chosen moment")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # the child does nothing but write and die
def test_a_kill_at_any_moment_of_saving_leaves_the_checkpoint_before_whole(tmp_path, monkeypatch):
    import torch

    folder = tmp_path / "checkpoints"
    state = {"weights": torch.arange(9.0), "step": 1}
    checkpoint.save(folder, 1, state, keep=1)
    moments = 0
    while True:
        child = os.fork()
        if child == 0:
            left = iter(range(moments))
            for name in ("fsync", "replace", "rename", "mkdir"):
                die_at_last(os, name, left)
            checkpoint.save(folder, 2, {"weights": torch.ones(9), "step": 2}, keep=1)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        step, loaded = checkpoint.load(folder)
        assert (step, loaded["step"]) in ((1, 1), (2, 2))
        assert loaded["weights"].sum() == (36 if step == 1 else 9)
        if status == 0:
            break
        assert status == 9
        moments += 1
    assert moments > 8, "a save should force several files to the disk"
    assert checkpoint.steps(folder) == [2]


def die_at_last(module, name, left):
    """Let the process die in the call to `module.name` that finds `left` used up."""
    real = getattr(module, name)

    def call(*args, **kwargs):
        if next(left, None) is None:
            os._exit(9)
        return real(*args, **kwargs)

    setattr(module, name, call)


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(tmp_path):
    process = start(tmp_path / "run", 1000, 0.05)
    wait_for(tmp_path / "run" / "checkpoints" / "step-2")
    process.send_signal(signal.SIGINT)
    said, warned = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "SIGINT: stopping after this step; once more stops at once" in warned
    steps = len(read_metrics(tmp_path / "run"))
    assert checkpoint.steps(tmp_path / "run" / "checkpoints")[-1] == steps
    assert f"stopped by SIGINT after step {steps}; go on with: rlaif resume {tmp_path / 'run'}" in said
    assert (tmp_path / "run" / "report.html").exists()


class Breaks:
    """Scores well for a while, then raises."""

    def __init__(self, after: int, error: Exception) -> None:
        self.left, self.error = after, error

    def score(self, rollouts):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return [float("yes" in text) for text in rollouts.completions]


def test_a_raising_reward_keeps_its_type_names_itself_and_leaves_a_checkpoint(config, train, go_on):
    with pytest.raises(ZeroDivisionError) as raised:
        train(config("grpo", "group", "run.save_every=0"), rewards={"fragile": Breaks(2, ZeroDivisionError("oh"))})
    notes = "\n".join(raised.value.__notes__)
    assert "reward source 'fragile', step 3" in notes
    assert "checkpoint of step 2 is in" in notes
    folder = Path(config().run.out)
    assert checkpoint.steps(folder / "checkpoints") == [2]
    mended = go_on(folder, rewards={"fragile": Breaks(99, ValueError())})
    whole = train(config("grpo", "group", out="whole"), rewards={"fragile": Breaks(99, ValueError())})
    assert timeless(mended.folder) == timeless(whole.folder)


def test_an_outage_stops_the_run_before_anything_is_trained_on_it(config, train):
    class Outage(Breaks):
        def score(self, rollouts):
            self.left -= 1
            return [
                rl.Failed("connection refused") if self.left < 0 else rl.Score(1.0 * len(t))
                for t in rollouts.completions
            ]

    with pytest.raises(
        rl.FeedbackError,
        match=r"more than max_failed = 10%; nothing was trained on it\. judge: connection refused \(8 times\)",
    ):
        train(config("grpo"), rewards={"judge": Outage(2, ValueError())})
    folder = Path(config().run.out)
    assert len(read_metrics(folder)) == 2
    assert checkpoint.steps(folder / "checkpoints") == [1, 2]


def test_a_full_disk_is_named_and_the_checkpoints_stay(config, train, monkeypatch):
    real = files.write_bytes

    def full(path, data):
        if path.name == "tensors.safetensors" and "step-3" in str(path):
            raise rl.RlaifError("cannot write") from OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(files, "write_bytes", full)
    with pytest.raises(rl.RlaifError, match="cannot write"):
        train(config())
    monkeypatch.undo()
    step, _ = checkpoint.load(Path(config().run.out) / "checkpoints")
    assert step == 2


def test_an_existing_run_is_never_overwritten(config, train):
    folder = train(config("grpo", "group", "run.steps=1")).folder
    before = (folder / "metrics.jsonl").read_bytes()
    with pytest.raises(
        rl.ConfigError, match=r"already holds a run; go on with `rlaif resume .*`, or choose another with --out"
    ):
        train(config())
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_a_run_folder_that_cannot_be_made(config, train, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(rl.RlaifError, match=r"the run folder .*file/run cannot be made \(Not a directory\); choose"):
        train(config("grpo", "group", f"run.out={json.dumps(str(tmp_path / 'file' / 'run'))}"))


def test_a_nan_in_the_weights_stops_the_run(config):
    import torch

    policy = FakePolicy()
    with torch.no_grad():
        next(policy.module.parameters()).fill_(float("nan"))
    with pytest.raises(rl.RlaifError):
        rl.run(config(), policy=policy, prompts=[{"prompt": "one"}, {"prompt": "two"}], progress=False)


class Counting:
    """A source that remembers how often it was asked, and draws from the global generator; it may break for a while."""

    def __init__(self, breaks: int = 0) -> None:
        self.breaks, self.asked = breaks, 0

    def score(self, rollouts):
        self.asked += 1
        said = [self.asked + random.random() * len(text) for text in rollouts.completions]
        if self.asked == self.breaks:
            raise ConnectionError("the judge is down")
        return said

    def state_dict(self):
        return {"asked": self.asked}

    def load_state_dict(self, state):
        self.asked = state["asked"]


def test_a_step_that_fails_takes_nothing_with_it(config, train, go_on):
    with pytest.raises(ConnectionError):
        train(config("grpo", "group", "run.save_every=0"), rewards={"judge": Counting(breaks=3)})
    mended = go_on(Path(config().run.out), rewards={"judge": Counting()})
    straight = train(config("grpo", "group", out="straight"), rewards={"judge": Counting()})
    assert timeless(mended.folder) == timeless(straight.folder)


class Interrupted(Grpo):
    """Its third update moves the weights, and then comes Ctrl-C."""

    def prepare(self, policy, steps):
        super().prepare(policy, steps)
        inner, left = self._update._torch.step, iter(range(2))

        def step():
            inner()
            if next(left, None) is None:
                raise KeyboardInterrupt

        self._update._torch.step = step


def test_weights_that_have_moved_are_not_saved_as_those_of_the_step_before(config, train):
    with pytest.raises(KeyboardInterrupt) as raised:
        train(config("grpo", "group", "run.save_every=0"), optimiser=Interrupted(adam=Adam(lr=0.05)))
    assert any("had begun to change the weights" in note for note in raised.value.__notes__)
    assert checkpoint.steps(Path(config().run.out) / "checkpoints") == []


def test_a_save_that_fails_does_not_hide_what_stopped_the_run(config, train, monkeypatch):
    def full(*_, **__):
        raise rl.RlaifError("the disk is full")

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(ConnectionError, match="the judge is down") as raised:
        train(config("grpo", "group", "run.save_every=0"), rewards={"judge": Counting(breaks=3)})
    assert any("and besides: RlaifError: the disk is full" in note for note in raised.value.__notes__)


def test_what_cannot_be_taken_back_is_not_saved(config, train):
    class Stubborn(Counting):
        def load_state_dict(self, state):
            raise ValueError("it stays")

    with pytest.raises(ConnectionError, match="the judge is down") as raised:
        train(config("grpo", "group", "run.save_every=0"), rewards={"judge": Stubborn(breaks=3)})
    assert any("and besides: ValueError: it stays" in note for note in raised.value.__notes__)
    assert checkpoint.steps(Path(config().run.out) / "checkpoints") == []


class Listener:
    """A plugin whose event hooks fail."""

    def __init__(self, step: int | None = None) -> None:
        self.step = step

    @rl.hookimpl
    def rlaif_step_finished(self, step):
        if step == self.step:
            raise RuntimeError("nobody listens")

    @rl.hookimpl
    def rlaif_run_finished(self):
        if self.step is None:
            raise RuntimeError("nobody listens")


def listening(listener: Listener) -> rl.Plugins:
    plugins = rl.Plugins.load()
    plugins.add(listener, Origin("listener", "somewhere", "1.0"))
    return plugins


def test_a_listener_that_fails_costs_no_step(config, train, go_on):
    with pytest.raises(RuntimeError, match="nobody listens") as raised:
        train(config("grpo", "group", "run.save_every=0"), plugins=listening(Listener(4)))
    assert any("rlaif_step_finished of plugin somewhere 1.0 (listener)" in note for note in raised.value.__notes__)
    folder = Path(config().run.out)
    assert checkpoint.steps(folder / "checkpoints") == [4]
    assert timeless(go_on(folder).folder) == timeless(train(config("grpo", "group", out="straight")).folder)


def test_a_listener_that_fails_at_the_end_costs_no_report(config, train):
    with pytest.raises(RuntimeError, match="nobody listens"):
        train(config(), plugins=listening(Listener()))
    folder = Path(config().run.out)
    assert (folder / "report.html").is_file()
    assert (folder / "policy").is_dir()


def test_a_policy_that_cannot_be_written_leaves_the_older_one_whole(config, train, go_on, monkeypatch):
    folder = train(config()).folder
    before = sorted(path.name for path in (folder / "policy").iterdir())

    def torn(self, place):
        place.mkdir()
        (place / "half").write_text("")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(FakePolicy, "save", torn)
    with pytest.raises(rl.RlaifError, match=r"cannot write .*policy .*the disk is full: free some space"):
        go_on(folder)
    assert sorted(path.name for path in (folder / "policy").iterdir()) == before


def test_a_state_that_no_checkpoint_can_hold_is_found_before_anything_is_learnt(config, train, go_on):
    class Forgetful(Breaks):
        def state_dict(self):
            return {"seen": {1}}

        def load_state_dict(self, state):
            pass

    with pytest.raises(rl.CheckpointError, match=r"the state of reward source 'odd'\.seen is a set") as raised:
        train(config(), rewards={"odd": Forgetful(99, ValueError())})
    assert "  in reward source 'odd'" in raised.value.__notes__
    folder = Path(config().run.out)
    assert read_metrics(folder) == []
    assert len(go_on(folder, mended=True, rewards={"odd": Breaks(99, ValueError())})) == 6


class Baseline(rl.Optimiser):
    """Keeps what it was told in its own containers, and fails in the third step before it moves anything."""

    def __init__(self, tensor=None):
        self.seen, self.last, self.left = {"n": 0}, tensor, 2

    def step(self, policy, experience):
        self.seen["n"] += 1
        if self.last is not None:
            self.last += 1
        self.left -= 1
        if self.left < 0:
            raise ZeroDivisionError
        policy.version += 1
        return {}

    def state_dict(self):
        return {"seen": self.seen, "last": self.last}

    def load_state_dict(self, state):
        self.seen.clear()
        self.seen.update(state["seen"])
        self.last = state["last"]


class Kept(Baseline):
    """Leaves its tensor alone."""

    def step(self, policy, experience):
        kept, self.last = self.last, None
        try:
            return super().step(policy, experience)
        finally:
            self.last = kept


def test_an_optimiser_is_taken_back_too(config, train):
    optimiser = Baseline()
    with pytest.raises(ZeroDivisionError):
        train(config(), optimiser=optimiser)
    assert optimiser.seen == {"n": 2}
    state = checkpoint.load(Path(config().run.out) / "checkpoints")[1]
    assert (state["step"], state["parts"]["optimiser"]["seen"]) == (2, {"n": 2})


def test_an_optimiser_may_keep_what_was_made_in_inference_mode(config, train):
    import torch

    with torch.inference_mode():
        kept = torch.ones(2)
    with pytest.raises(ZeroDivisionError):
        train(config(), optimiser=Kept(kept))
    state = checkpoint.load(Path(config().run.out) / "checkpoints")[1]
    assert state["parts"]["optimiser"]["last"].tolist() == [1, 1]


def test_an_optimiser_that_moves_too_early_is_not_saved(config, train):
    import torch

    with pytest.raises(ZeroDivisionError) as raised:
        train(config("grpo", "group", "run.save_every=0"), optimiser=Baseline(torch.zeros(())))
    assert any("the optimiser changed its tensors before policy.version" in note for note in raised.value.__notes__)
    assert checkpoint.steps(Path(config().run.out) / "checkpoints") == []
