"""The folder of a labelling: what it was begun with, so that it is gone on with by the same, or begun anew."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from rlaif_core import ConfigError, DataError
from rlaif_core.files import write_bytes, writing
from rlaif_core.lockfile import named_files
from rlaif_core.protocols import Stateful
from rlaif_judges.label.config import LabelConfig

CONFIG, IDENTITY, REPORT = "label.toml", "labelling.json", "report.json"
ACCOUNTS = "judges.json"
FAILURES, ABSTENTIONS = "failures.jsonl", "abstentions.jsonl"
BEFORE = "before"


def identity(given: LabelConfig, prompts: str, standards: str) -> dict[str, Any]:
    """Everything that labels depend on, flat: by the config as it was `given`, without values of the environment."""
    its = given.key()
    its["the prompts"] = prompts
    its["the rubric or constitution"] = hashlib.sha256(standards.encode("utf-8", "replace")).hexdigest()
    for name, use in given.expanded().judges.items():
        for option, digest in named_files(use.options):
            its[f"what judges.{name}.{option.partition(' ')[0]} names"] = digest
    return {key: json.loads(json.dumps(value)) for key, value in its.items()}


def opened(folder: Path, given: LabelConfig, its: Mapping[str, Any], *, anew: bool, again: str) -> None:
    """Make the folder ready: a new one, or one that was begun with the same `its`."""
    path = folder / IDENTITY
    if path.exists() and anew:
        _set_aside(folder)
    if path.exists():
        _compare(path, its, again)
    elif any(child.name != BEFORE and not child.name.startswith(".") for child in folder.iterdir()):
        raise ConfigError(f"{folder} exists and is not empty; choose another folder with --out")
    write_bytes(folder / CONFIG, tomli_w.dumps(given.tables()).encode())
    write_bytes(path, json.dumps(its, indent=1).encode())


def accounts(folder: Path, judges: Mapping[str, Any]) -> None:
    """Let judges that remember something (whose budget they spend) go on with what they did when this was begun."""
    path = folder / ACCOUNTS
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, judge in judges.items():
        if isinstance(judge, Stateful) and name in kept:
            judge.load_state_dict(kept[name])
        elif isinstance(judge, Stateful) and (state := _plain(judge.state_dict())):
            kept[name] = state
    write_bytes(path, json.dumps(kept).encode())


def _plain(state: Any) -> Any:
    """The state, if it is one that JSON holds; weights are none."""
    try:
        return json.loads(json.dumps(state))
    except (TypeError, ValueError):
        return None


def made(folder: Path) -> None:
    """Make the folder, unless it is there."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose a folder with --out")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _compare(path: Path, its: Mapping[str, Any], again: str) -> None:
    try:
        then = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key in {**then, **its} if then.get(key) != its.get(key)]
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({error}); restore it, or begin anew with --anew") from None
    if differing:
        raise ConfigError(
            f"{path.parent} was begun with another config, different in {', '.join(differing)}; change it back, choose "
            f"another folder with --out, or begin anew with: {again} --anew"
        )


def _set_aside(folder: Path) -> None:
    """Move all that is there into `before/N`: it may have been paid for."""
    number = next(n for n in range(1, 10**6) if not (folder / BEFORE / str(n)).exists())
    aside = folder / BEFORE / str(number)
    with writing(aside):
        aside.mkdir(parents=True)
        for child in list(folder.iterdir()):
            if child.name != BEFORE:
                shutil.move(str(child), str(aside / child.name))
