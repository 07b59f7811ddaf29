"""A run: config and plugins into objects, its state, and how it is started, resumed and checked.

Nothing heavy is imported until a run starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlaif_core import files
from rlaif_core.errors import CheckpointError, ConfigError, blame
from rlaif_core.plugins import Plugins

if TYPE_CHECKING:
    from rlaif_core.assemble import Plan
    from rlaif_core.config import RunConfig, Tables
    from rlaif_core.loop import Loop
    from rlaif_core.protocols import State, Stateful


class History(Sequence[Mapping[str, float]]):
    """The metrics of every step of a run, in order, and the `folder` that it left behind.

    `ended` says why an observer ended the run before its last step, if one did.
    """

    def __init__(self, folder: Path, steps: Sequence[Mapping[str, float]], ended: str | None = None) -> None:
        self.folder, self._steps, self.ended = folder, tuple(steps), ended

    def __getitem__(self, index: Any) -> Any:
        return self._steps[index]

    def __len__(self) -> int:
        return len(self._steps)


@dataclass
class Run:
    """What event hooks are told about: the config, the folder, and how far the run has come.

    `objects`: the parts that were given as objects, and where their code is.
    """

    config: RunConfig
    folder: Path
    plugins: Plugins
    plan: Plan
    loop: Loop
    objects: Mapping[str, str] = field(default_factory=dict)
    saved: int | None = None
    stopping: str | None = field(default=None, repr=False)
    ended: str | None = None

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

    def _state_of(self, name: str, part: Stateful) -> State:
        """What a part remembers, once it is certain that a checkpoint can hold it."""
        from rlaif_core import checkpoint

        with blame(self.loop.whose.get(name, name)):
            state = part.state_dict()
            checkpoint.packed(state, f"the state of {name}")
        return state

    def state_dict(self) -> State:
        """Everything that the next step depends on."""
        from rlaif_core import checkpoint, loop, wire

        return {
            "step": self.step,
            "idle": self.loop.idle,
            "config": config_key(self.config),
            "parts": {name: self._state_of(name, part) for name, part in loop.stateful(self.loop).items()},
            "buffer": [wire.to_state(experience) for experience in self.loop.buffer],
            "random": checkpoint.random_state(),
        }

    def load_state_dict(self, state: State, changes: Iterable[str] = ()) -> None:
        """Take up where a checkpoint left off; it must be of this very config, but for the keys in `changes`."""
        from rlaif_core import checkpoint, loop, wire

        ours, theirs, meant = config_key(self.config), state["config"], tuple(changes)
        differing = [key for key in sorted({*ours, *theirs}) if not _same(ours.get(key), theirs.get(key))]
        if differing := [key for key in differing if not any(f"{key}.".startswith(f"{its}.") for its in meant)]:
            raise CheckpointError(
                f"the checkpoint is of another config, different in {', '.join(differing)}; restore "
                f"{self.folder / 'config.toml'}, name the change with --set, or start a new run with --out"
            )
        parts = loop.stateful(self.loop)
        if missing := sorted(set(parts) ^ set(state["parts"])):
            raise CheckpointError(f"the checkpoint and the run disagree about who keeps state: {', '.join(missing)}")
        for name, part in parts.items():
            with blame(self.loop.whose.get(name, name)):
                part.load_state_dict(state["parts"][name])
        device, prompts = next(iter(self.loop.policy.module.parameters())).device, self.loop.prompts.prompts
        self.loop.buffer = [wire.from_state(experience, device, prompts) for experience in state["buffer"]]
        self.loop.step, self.loop.idle, self.saved = state["step"], state["idle"], state["step"]
        checkpoint.restore_random(state["random"])


def run(
    config: RunConfig | str | Path,
    *,
    plugins: Plugins | None = None,
    strict: bool = False,
    progress: bool = True,
    **objects: Any,
) -> History:
    """Train as `config` (or the TOML file of that path) says and return the metrics of every step.

    Objects may take the place of tables: policy, prompts (rows or `Prompt`s), actions (a list), rewards
    (name -> source, beside the configured ones), credit, optimiser, observers (a list).
    """
    from rlaif_core.assemble import assemble, open_folder
    from rlaif_core.config import RunConfig

    config = RunConfig.load(config) if isinstance(config, str | Path) else config
    if not isinstance(config, RunConfig):
        raise ConfigError(
            f"run() takes a RunConfig or the path of a TOML file, not a {type(config).__name__}; "
            "RunConfig.of(...) makes one of a dict"
        )
    plugins = plugins or Plugins.load()
    config = config.model_copy(update={"run": config.run.model_copy(update={"strict": strict or config.run.strict})})
    this = assemble(config, plugins, objects)
    open_folder(this)
    with files.claimed(this.folder):
        return _trained(this, progress)


def resume(
    folder: str | Path,
    *,
    step: int | None = None,
    changes: Sequence[str] = (),
    mended: bool = False,
    plugins: Plugins | None = None,
    progress: bool = True,
    **objects: Any,
) -> History:
    """Go on from the newest checkpoint of a run folder (without any, from the beginning), or from that of `step`, and
    forget what came after it.

    `changes` ("table.key=value") change the config from here on; objects as for `run`. With `mended`, parts whose code
    or files have changed since the run began (a reward was mended) take part as they are now.
    """
    folder = Path(folder)
    if not (folder / "config.toml").is_file():
        raise CheckpointError(f"{folder} is not a run folder: it has no config.toml")
    with files.claimed(folder):
        this = _resumed(folder, step, changes, mended, plugins or Plugins.load(), objects)
        return _trained(this, progress)


def _resumed(
    folder: Path,
    step: int | None,
    changes: Sequence[str],
    mended: bool,
    plugins: Plugins,
    objects: Mapping[str, Any],
) -> Run:
    """The run as a checkpoint holds it, with its changes written down, and its folder as it was at that step."""
    from rlaif_core import checkpoint, lockfile
    from rlaif_core.assemble import assemble, write_config
    from rlaif_core.config import RunConfig
    from rlaif_core.objects import accepted, described
    from rlaif_core.record import Record

    checkpoint.recover(folder / "checkpoints")
    config = RunConfig.load(folder / "config.toml", changes)
    # Without any checkpoint the run starts again from its config, and leaves what it would have left.
    fresh = step is None and not checkpoint.steps(folder / "checkpoints")
    at, state = (0, None) if fresh else checkpoint.load(folder / "checkpoints", step)
    if config.run.steps < at:
        raise ConfigError(
            f"run.steps is {config.run.steps}, but the run is at step {at} already; go back with --step, or raise it"
        )
    lockfile.verify_present(folder, plugins, described(accepted(objects)), mended)
    here = config.model_copy(update={"run": config.run.model_copy(update={"out": str(folder)})})
    this = assemble(here, plugins, objects)
    lockfile.verify(this, mended)
    if state is not None:
        this.load_state_dict(state, [change.partition("=")[0].strip() for change in changes])
    checkpoint.forget_after(folder / "checkpoints", at)
    Record.rewind(folder, at)
    if changes:
        if state is not None and not _same(state["config"], config_key(config)):
            this.saved = None  # once more, for it must be of the config that stands beside it
            this.save()
        write_config(folder, config)
    if changes or mended:
        lockfile.write(this)
    return this


def _trained(this: Run, progress: bool) -> History:
    from rlaif_core.record import read_metrics
    from rlaif_core.train import train

    train(this, progress)
    return History(this.folder, read_metrics(this.folder), this.ended)


def config_key(config: Tables) -> dict[str, Any]:
    """What of a config must not change under a checkpoint, flat: "table.key" -> value."""
    free = {
        f"run.{key}"
        for key in ("out", "steps", "save_every", "keep", "tensorboard", "strict", "max_failed", "max_idle")
    }
    flat: dict[str, Any] = {}

    def visit(value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                visit(item, f"{path}.{key}" if path else str(key))
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value):
                visit(item, f"{path}.{number}")
        elif path not in free:
            flat[path] = _storable(value)

    visit(config.tables(), "")
    return flat


def _storable(value: Any) -> Any:
    """TOML's dates and times as texts, for a checkpoint."""
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value.isoformat() if isinstance(value, date | time) else value


def _same(one: Any, other: Any) -> bool:
    return one == other or repr(one) == repr(other)  # nan is not equal to itself


def check(config: RunConfig, plugins: Plugins | None = None) -> Plan:
    """Resolve every name and option without loading weights: a `Plan`, or the error that `run` would raise.

    What takes no weights is built to see that it can be: credit, optimiser, and actions that ask no judge. Of policies,
    judges, rewards and observers the options are checked by name and type, and of the prompts whether their files and
    functions are there.
    """
    from rlaif_core.assemble import plan
    from rlaif_core.prompts import check_prompts
    from rlaif_core.references import judges_named

    plugins = plugins or Plugins.load()
    result = plan(config, plugins)
    check_prompts(config.expanded().prompts)
    for kind in ("actions", "credits", "optimisers"):
        for chosen in result.of(kind):
            if not judges_named(chosen.listing, chosen.options, config.judges):
                plugins.build(kind, chosen.listing.offer.name, chosen.options)
    return result
