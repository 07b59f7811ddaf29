"""A run: config and plugins into objects, the loop over its steps, checkpoints, and an orderly end whatever happens.

Nothing heavy is imported until a run starts.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlaif_core.errors import CheckpointError
from rlaif_core.plugins import Plugins

if TYPE_CHECKING:
    from rlaif_core.assemble import Plan
    from rlaif_core.config import RunConfig
    from rlaif_core.loop import Loop
    from rlaif_core.protocols import State
    from rlaif_core.record import Record


class History(Sequence[Mapping[str, float]]):
    """The metrics of every step of a run, in order, and the `folder` that it left behind."""

    def __init__(self, folder: Path, steps: Sequence[Mapping[str, float]]) -> None:
        self.folder, self._steps = folder, tuple(steps)

    def __getitem__(self, index: Any) -> Any:
        return self._steps[index]

    def __len__(self) -> int:
        return len(self._steps)


@dataclass
class Run:
    """What event hooks are told about: the config, the folder, and how far the run has come."""

    config: RunConfig
    folder: Path
    plugins: Plugins
    loop: Loop
    saved: int | None = None
    stopping: str | None = field(default=None, repr=False)

    @property
    def step(self) -> int:
        """Steps finished so far."""
        return self.loop.step

    def save(self) -> None:
        """Write a checkpoint of the state after the last finished step, unless there is one."""
        from rlaif_core import checkpoint

        if self.saved != self.step:
            checkpoint.save(self.folder / "checkpoints", self.step, self.state_dict(), keep=self.config.run.keep)
            self.saved = self.step

    def state_dict(self) -> State:
        """Everything that the next step depends on."""
        from rlaif_core import checkpoint, loop, wire
        from rlaif_core.protocols import Stateful

        return {
            "step": self.step,
            "idle": self.loop.idle,
            "config": config_key(self.config),
            "parts": {n: part.state_dict() for n, part in loop.parts(self.loop).items() if isinstance(part, Stateful)},
            "buffer": [wire.to_state(experience) for experience in self.loop.buffer],
            "random": checkpoint.random_state(),
        }

    def load_state_dict(self, state: State) -> None:
        """Take up where a checkpoint left off; it must be of this very config."""
        from rlaif_core import checkpoint, loop, wire
        from rlaif_core.protocols import Stateful

        ours = config_key(self.config)
        if differing := sorted(key for key in {*ours, *state["config"]} if ours.get(key) != state["config"].get(key)):
            raise CheckpointError(
                f"the checkpoint is of another config: {', '.join(differing)} differ; "
                f"restore {self.folder / 'config.toml'} or start a new run with --out"
            )
        parts = {name: part for name, part in loop.parts(self.loop).items() if isinstance(part, Stateful)}
        if missing := sorted(set(parts) ^ set(state["parts"])):
            raise CheckpointError(f"the checkpoint and the run disagree about who keeps state: {', '.join(missing)}")
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        device = next(iter(self.loop.policy.module.parameters())).device
        self.loop.buffer = [wire.from_state(experience, device) for experience in state["buffer"]]
        self.loop.step, self.loop.idle, self.saved = state["step"], state["idle"], state["step"]
        checkpoint.restore_random(state["random"])


def run(
    config: RunConfig,
    *,
    plugins: Plugins | None = None,
    strict: bool = False,
    progress: bool = True,
    **objects: Any,
) -> History:
    """Train as `config` says and return the metrics of every step.

    Objects may take the place of tables: policy, prompts (rows or `Prompt`s), actions (a list), rewards
    (name -> source, beside the configured ones), credit, optimiser.
    """
    from rlaif_core.assemble import assemble, open_folder

    plugins = plugins or Plugins.load()
    config = config.model_copy(update={"run": config.run.model_copy(update={"strict": strict or config.run.strict})})
    this = assemble(config, plugins, objects)
    open_folder(this)
    return _train(this, progress)


def resume(
    folder: str | Path,
    *,
    step: int | None = None,
    plugins: Plugins | None = None,
    progress: bool = True,
    **objects: Any,
) -> History:
    """Go on from the newest checkpoint of a run folder, or from that of `step`; objects as for `run`."""
    from rlaif_core import checkpoint
    from rlaif_core.assemble import assemble, verify_lock
    from rlaif_core.config import RunConfig
    from rlaif_core.record import Record

    folder = Path(folder)
    if not (folder / "config.toml").is_file():
        raise CheckpointError(f"{folder} is not a run folder: it has no config.toml")
    config = RunConfig.load(folder / "config.toml")
    config.run.out = str(folder)
    at, state = checkpoint.load(folder / "checkpoints", step)
    plugins = plugins or Plugins.load()
    this = assemble(config, plugins, objects)
    verify_lock(this)
    this.load_state_dict(state)
    Record.rewind(folder, at)
    return _train(this, progress)


def config_key(config: RunConfig) -> dict[str, Any]:
    """What of a config must not change under a checkpoint, flat: "table.key" -> value."""
    free = {"run.out", "run.steps", "run.save_every", "run.keep", "run.tensorboard", "run.strict"}
    flat: dict[str, Any] = {}

    def visit(value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                visit(item, f"{path}.{key}" if path else str(key))
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value):
                visit(item, f"{path}.{number}")
        elif path not in free:
            flat[path] = value

    visit(config.tables(), "")
    return flat


def _train(this: Run, progress: bool) -> History:
    from rlaif_core.record import Record, read_metrics
    from rlaif_core.report import write_report

    table = this.config.run
    record = Record(this.folder, steps=table.steps, start=this.step, progress=progress, tensorboard=table.tensorboard)
    error: BaseException | None = None
    try:
        with _stop_on_signal(this):
            this.plugins.tell("rlaif_run_started", run=this)
            while this.step < table.steps:
                _step(this, record)
                if (
                    this.step == table.steps
                    or (table.save_every and this.step % table.save_every == 0)
                    or this.stopping
                ):
                    this.save()
                if this.stopping and this.step < table.steps:
                    raise KeyboardInterrupt(
                        f"stopped by {this.stopping} after step {this.step}; go on with: rlaif resume {this.folder}"
                    )
        this.loop.policy.save(this.folder / "policy")
    except BaseException as raised:
        error = raised
        raise
    finally:
        with _beside(error):
            record.close()
            this.plugins.tell("rlaif_run_finished", run=this, error=error)
            if this.step:
                write_report(this.folder)
    return History(this.folder, read_metrics(this.folder))


@contextmanager
def _beside(error: BaseException | None) -> Iterator[None]:
    """What fails while a run is being wound up must not hide what stopped it."""
    try:
        yield
    except Exception as late:
        if error is None:
            raise
        error.add_note(f"  and while winding up: {type(late).__name__}: {late}")


def _step(this: Run, record: Record) -> None:
    """One step, recorded and told. If it fails before the weights changed, what it took is put back and saved."""
    from rlaif_core.loop import advance

    loop = this.loop
    cursor, buffer, idle, version = loop.prompts.state_dict(), loop.buffer, loop.idle, loop.policy.version
    try:
        experience, metrics = advance(loop)
    except BaseException as error:
        if loop.policy.version == version:
            loop.prompts.load_state_dict(cursor)
            loop.buffer, loop.idle = buffer, idle
            this.save()
            error.add_note(f"  checkpoint of step {this.step} is in {this.folder / 'checkpoints'}")
        raise
    record.step(this.step, experience, metrics)
    this.plugins.tell("rlaif_step_finished", step=this.step, experience=experience, metrics=metrics)


@contextmanager
def _stop_on_signal(this: Run) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) lets the step finish and saves; the second stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, _: object) -> None:
        if this.stopping:
            raise KeyboardInterrupt(f"stopped at once; the newest checkpoint is of step {this.saved}")
        this.stopping = signal.Signals(number).name

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def check(config: RunConfig, plugins: Plugins | None = None) -> Plan:
    """Resolve every name and option without loading weights: a `Plan`, or the error that `run` would raise."""
    from rlaif_core.assemble import plan

    return plan(config, plugins or Plugins.load())
