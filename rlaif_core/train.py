"""The loop over a run's steps: checkpoints, signals, and an orderly end whatever happens."""

from __future__ import annotations

import copy
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from rlaif_core.errors import Stop, TrainingError, all_of, blame, inert
from rlaif_core.memory import reused
from rlaif_core.record import Record

if TYPE_CHECKING:
    from torch import Tensor

    from rlaif_core.run import Run


def train(this: Run, progress: bool) -> None:
    """Take the steps that are left, and leave behind what a run leaves behind."""
    import rlaif_kernels as rk

    table = this.config.run
    record = Record(this.folder, steps=table.steps, start=this.step, progress=progress, tensorboard=table.tensorboard)
    error: BaseException | None = None
    try:
        with reused(), rk.using(table.kernels), _stop_on_signal(this):
            this.plugins.tell("rlaif_run_started", run=this)
            this.state_dict()  # whoever remembers what no checkpoint can hold is to say so before anything is learnt
            while this.step < table.steps:
                try:
                    _step(this, record)
                except Stop as wish:
                    this.ended = inert(str(wish))
                    break
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
        _save_policy(this)
    except BaseException as raised:
        error = raised
        raise
    finally:
        all_of(error, record.close, lambda: this.plugins.tell("rlaif_run_finished", run=this, error=error))


def _save_policy(this: Run) -> None:
    """Write the trained policy beside its place, and put it there when it is whole."""
    from rlaif_core import files

    final = this.folder / "policy"
    aside = this.folder / f".policy{files.ASIDE}"
    shutil.rmtree(aside, ignore_errors=True)
    with files.writing(final), blame(this.loop.whose.get("policy", "policy")):
        this.loop.policy.save(aside)
        mode = (this.folder / "config.toml").stat().st_mode  # safetensors makes files that only their owner may read
        for file in aside.rglob("*"):
            if file.is_file():
                file.chmod(mode)
    files.replace_folder(aside, final)


def _step(this: Run, record: Record) -> None:
    """One step, recorded and told. If it fails before the weights changed, all that it took is put back and saved."""
    from rlaif_core.loop import advance

    put_back, version = remembered(this), this.loop.policy.version
    try:
        experience, metrics = advance(this.loop)
    except BaseException as error:
        if this.loop.policy.version == version:
            all_of(error, partial(_taken_back, this, put_back, error))
        else:
            kept = "there is none yet" if this.saved is None else f"the newest is of step {this.saved}"
            error.add_note(f"  the step had begun to change the weights, so there is no checkpoint of it; {kept}")
        raise
    record.step(this.step, experience, metrics)
    try:
        this.plugins.tell("rlaif_step_finished", step=this.step, experience=experience, metrics=metrics)
    except BaseException as error:
        all_of(error, partial(_saved, this, error))
        raise


def _taken_back(this: Run, put_back: Callable[[], None], error: BaseException) -> None:
    put_back()  # if this fails the state is not that of any step, and must not be saved as one
    _saved(this, error)


def _saved(this: Run, error: BaseException) -> None:
    this.save()
    error.add_note(f"  checkpoint of step {this.step} is in {this.folder / 'checkpoints'}")


def remembered(this: Run) -> Callable[[], None]:
    """What a step may change before it reaches the weights, and a function that puts all of it back.

    The policy is left out, and of the optimiser's state no tensor is copied: they change when the weights do.
    """
    from rlaif_core import checkpoint, loop

    states: dict[str, Any] = {}
    versions: list[tuple[Tensor, int]] = []
    parts = loop.stateful(this.loop)
    for name, part in parts.items():
        if name != "policy":
            with blame(this.loop.whose.get(name, name)):
                state = part.state_dict()
                states[name] = _outline(state, versions) if name == "optimiser" else copy.deepcopy(state)
    at, buffer, idle, random = this.loop.step, this.loop.buffer, this.loop.idle, checkpoint.random_state()

    def put_back() -> None:
        if any(tensor._version != version for tensor, version in versions):
            raise TrainingError("the optimiser changed its tensors before policy.version, so they cannot be put back")
        for name, state in states.items():
            with blame(this.loop.whose.get(name, name)):
                parts[name].load_state_dict(state)
        this.loop.step, this.loop.buffer, this.loop.idle = at, buffer, idle
        checkpoint.restore_random(random)

    return put_back


def _outline(state: Any, versions: list[tuple[Tensor, int]]) -> Any:
    """The state in containers of its own, with the tensors themselves, whose versions are noted."""
    if isinstance(state, Mapping):
        return {key: _outline(item, versions) for key, item in state.items()}
    if isinstance(state, list | tuple):
        items = [_outline(item, versions) for item in state]
        return tuple(items) if isinstance(state, tuple) else items
    if hasattr(state, "is_inference") and not state.is_inference():  # one made in inference mode has no version
        versions.append((state, state._version))
    return state


@contextmanager
def _stop_on_signal(this: Run) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) lets the step finish and saves; the second stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, _: object) -> None:
        if this.stopping:
            raise KeyboardInterrupt("stopped at once")
        this.stopping = signal.Signals(number).name
        sys.stderr.write(f"\n{this.stopping}: stopping after this step; once more stops at once\n")

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
