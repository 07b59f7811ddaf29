"""Checkpoints: everything a run needs to go on bit for bit, written so that a torn one cannot exist.

A checkpoint is a folder of safetensors and JSON, made under a temporary name, synced, and renamed when complete; its
manifest holds the sha256 of every file. There is no pickle.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from rlaif_core import files
from rlaif_core.errors import CheckpointError
from rlaif_core.protocols import State

FORMAT = 2
TENSORS, STATE = "tensors.safetensors", "state.json"
_NAME = re.compile(r"step-(\d+)")


def save(folder: Path, step: int, state: State, *, keep: int) -> Path:
    """Write `folder/step-N` and drop all but the newest `keep`; none is touched before the next is whole."""
    from safetensors.torch import save as to_bytes

    tree, tensors = packed(state)
    final = folder / f"step-{step}"
    partial = folder / f".step-{step}{files.ASIDE}"
    shutil.rmtree(partial, ignore_errors=True)
    with files.writing(final), _gone_if_torn(partial):
        partial.mkdir(parents=True)
        here = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        files.write_bytes(partial / TENSORS, to_bytes(here))
        files.write_bytes(partial / STATE, json.dumps(tree).encode())
        sums = {name: files.sha256(partial / name) for name in (TENSORS, STATE)}
        manifest = {"format": FORMAT, "step": step, "sha256": sums}
        files.write_bytes(partial / "manifest.json", json.dumps(manifest, indent=1).encode())
        files.replace_folder(partial, final)
    for old in [other for other in steps(folder) if other < step][: 1 - keep or None]:
        shutil.rmtree(folder / f"step-{old}", ignore_errors=True)
    return final


@contextmanager
def _gone_if_torn(partial: Path) -> Iterator[None]:
    """Give back the space of a checkpoint that could not be written whole."""
    try:
        yield
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def recover(folder: Path) -> None:
    """Put back a checkpoint that a kill caught between being moved away and being replaced."""
    for old in folder.glob(".step-*.old"):
        place = folder / old.name.removeprefix(".").removesuffix(".old")
        if not place.exists():
            old.rename(place)


def forget_after(folder: Path, step: int) -> None:
    """Drop the checkpoints that came after that of `step`, and what a kill left unfinished."""
    for later in steps(folder):
        if later > step:
            shutil.rmtree(folder / f"step-{later}")
    for unfinished in [*folder.glob(f".step-*{files.ASIDE}"), *folder.glob(".step-*.old")]:
        shutil.rmtree(unfinished, ignore_errors=True)


def steps(folder: Path) -> list[int]:
    """Steps of which there is a complete checkpoint, ascending."""
    if not folder.is_dir():
        return []
    named = [(_NAME.fullmatch(entry.name), entry) for entry in folder.iterdir()]
    return sorted(int(match[1]) for match, entry in named if match and entry.is_dir())


def load(folder: Path, step: int | None = None) -> tuple[int, State]:
    """Read and verify the checkpoint of `step` (default: the newest)."""
    known = steps(folder)
    if not known:
        raise CheckpointError(f"{folder}: there is no checkpoint; without --step the run starts again")
    step = known[-1] if step is None else step
    if step not in known:
        raise CheckpointError(
            f"{folder}: there is no checkpoint of step {step}; there are {', '.join(map(str, known))}"
        )
    place = folder / f"step-{step}"
    try:
        return step, _read(place)
    except CheckpointError as error:
        whole = next((other for other in reversed(known) if other < step and _is_whole(folder / f"step-{other}")), None)
        offer = "; there is no whole one before it"
        if whole is not None:
            offer = f"; the last whole one before it is of step {whole}: resume with --step {whole}"
        raise CheckpointError(f"{error}{offer}") from error.__cause__


def _is_whole(place: Path) -> bool:
    try:
        _read(place)
    except CheckpointError:
        return False
    return True


def _read(place: Path) -> State:
    from safetensors.torch import load as from_bytes

    try:
        manifest = json.loads((place / "manifest.json").read_bytes())
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"{place} has format {manifest['format']}, but this version reads format {FORMAT}")
        for name in (TENSORS, STATE):
            if files.sha256(place / name) != manifest["sha256"][name]:
                raise CheckpointError(f"{place / name} is damaged: its sha256 is not the one it was saved with")
        tensors = from_bytes((place / TENSORS).read_bytes())
        state = _unpack(json.loads((place / STATE).read_bytes()), tensors)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{place} is damaged: {error}") from error
    return state  # type: ignore[no-any-return]


def packed(state: State, name: str = "state") -> tuple[Any, dict[str, Tensor]]:
    """A JSON tree in which each tensor is replaced by its name, and the tensors by their names; nothing is copied.

    `CheckpointError` says what of the state, called `name`, a checkpoint cannot hold.
    """
    tensors: dict[str, Tensor] = {}
    return _pack(state, name, tensors), tensors


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = path
        while name in tensors:  # {"a.b": x, "a": {"b": y}} has two of one path
            name += "'"
        if not _storable(value):
            raise CheckpointError(
                f"{path} is a tensor, {value.layout}, {value.dtype}, on {value.device.type}, which a checkpoint cannot "
                "hold; keep a dense one of an ordinary type"
            )
        tensors[name] = value
        return {"$tensor": name}
    if isinstance(value, Mapping):
        return {"$map": [[_key(key, path), _pack(item, f"{path}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, tuple | list):
        items = [_pack(item, f"{path}.{number}", tensors) for number, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CheckpointError(
        f"{path} is a {type(value).__name__}, which a checkpoint cannot hold; "
        "state is made of tensors, numbers, texts, dicts, lists and tuples"
    )


def _storable(tensor: Tensor) -> bool:
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_nested:
        return False
    try:
        tensor.untyped_storage().data_ptr()  # which some subclasses have none of
    except RuntimeError:
        return False
    return _has_name(tensor.dtype)


@cache
def _has_name(dtype: torch.dtype) -> bool:
    """Whether a file can say that it holds such numbers, and be read again."""
    from safetensors.torch import load as from_bytes
    from safetensors.torch import save as to_bytes

    try:
        from_bytes(to_bytes({"": torch.empty(0, dtype=dtype)}))
    except (KeyError, RuntimeError, TypeError, ValueError):
        return False
    return True


def _key(key: Any, path: str) -> Any:
    if key is None or isinstance(key, bool | int | float | str):
        return key
    raise CheckpointError(
        f"{path} has the key {key!r}, a {type(key).__name__}, which a checkpoint cannot hold; "
        "keys are texts and numbers"
    )


def _unpack(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_unpack(item, tensors) for item in tree]
    if isinstance(tree, dict):
        if "$tensor" in tree:
            return tensors[tree["$tensor"]]
        if "$tuple" in tree:
            return tuple(_unpack(item, tensors) for item in tree["$tuple"])
        return {key: _unpack(item, tensors) for key, item in tree["$map"]}
    return tree


def random_state() -> State:
    """Every global source of randomness: Python's, NumPy's, torch's, and each GPU's."""
    import numpy

    name, keys, *rest = cast("tuple[Any, ...]", numpy.random.get_state())
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype("int64")), *rest),
        "torch": torch.get_rng_state(),
        "cuda": list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else [],
    }


def restore_random(state: State) -> None:
    """Put back what `random_state` took."""
    import numpy

    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    numpy.random.set_state((name, keys.numpy().astype("uint32"), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
