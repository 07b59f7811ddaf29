"""TOML into a `RunConfig`: tables checked by pydantic, unknown keys refused with a suggestion.

A table that names a plugin (`use = "..."`) keeps the plugin's options aside; they are checked against the offer's own
signature, here unknown. `${NAME}` in a text is read from the environment when a run starts, so that the resolved
config in the run folder never holds what the variable held.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rlaif_core.errors import ConfigError, suggest
from rlaif_core.options import Expanded, complaint
from rlaif_core.recordings import Answers, Format

BUILT_IN_MODEL = "builtin:"


class Table(BaseModel):
    """A table whose keys are all known here."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


class Tables(Table):
    """A whole TOML file, each of whose keys is a table."""

    @classmethod
    def load(cls, path: str | Path, overrides: Iterable[str] = ()) -> Self:
        """Read a TOML file and apply `key.path=value` overrides; every complaint names the file."""
        try:
            tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the path of a TOML file") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not valid TOML: {error}") from None
        return cls.of(tables, str(path), overrides)

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str = "config", overrides: Iterable[str] = ()) -> Self:
        """A config from nested mappings, as if they had been read from the file `where`."""
        tables: dict[str, Any] = _copy(given)
        for override in overrides:
            _override(tables, override)
        for name in tables:
            if name not in cls.model_fields:
                close = suggest(name, cls.model_fields).replace("'", "[", 1).replace("'", "]", 1)
                raise ConfigError(f"{where}: unknown table [{name}]{close}")
        try:
            config = cls.model_validate(tables)
        except ValidationError as error:
            raise ConfigError(f"{where}: {_place(error, cls)}") from None
        for wrong, told in config.contradictions():
            if wrong:
                raise ConfigError(f"{where}: {told}")
        return config

    def contradictions(self) -> Iterator[tuple[object, str]]:
        """(whether it holds, what is wrong with it) of what no table says of itself."""
        yield from ()

    def expanded(self) -> Self:
        """The same config with every `${NAME}` replaced from the environment."""
        return type(self).model_validate(_expand(self.tables()))

    def tables(self) -> dict[str, Any]:
        """Nested dicts ready for TOML: defaults included, empty values left out."""
        plain = self.model_dump(exclude_none=True)
        return {name: value for name, value in plain.items() if value not in ({}, [])}


class RunTable(Table):
    """`[run]`: how long, from which seed, and where to."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    steps: int = Field(default=100, ge=1)
    out: str = "runs/run"
    save_every: int = Field(default=50, ge=0)  # steps between checkpoints; 0: only at the end
    keep: int = Field(default=3, ge=1)  # checkpoints kept
    updates: int = Field(default=1, ge=1)  # steps taken on one batch of rollouts, each on a share of its groups
    max_failed: float = Field(default=0.1, ge=0, le=1)  # share of failed outcomes in a batch above which the run stops
    max_idle: int = Field(default=20, ge=0)  # steps in a row without any advantage after which the run stops; 0: never
    kernels: Literal["auto", "torch"] = "auto"  # "torch": all by their definitions, in plain torch
    strict: bool = False  # watch for stages that write into earlier values
    tensorboard: bool = True


class PromptTable(Table):
    """`[prompts]`: which rows, which column, and how many at a time."""

    # Anything datasets.load_dataset takes, or "module:function" or "file.py:function"; default: by the files' endings.
    dataset: str | None = None
    files: str | list[str] = Field(default_factory=list)
    split: str = "train"
    column: str | None = None  # default: "prompt", "messages" or "text", whichever there is
    id: str | None = None  # column with ids; default: "id" where there is one, else the row number
    format: Literal["prompt"] | Format | None = (
        None  # how answers are recorded; "prompt": none; default: by the columns
    )
    columns: dict[Answers, str] = Field(default_factory=dict)  # what the columns of recorded answers are called here
    transcripts: bool = False  # texts of "\n\nHuman: ...\n\nAssistant: ..." turns become chat messages
    broken: Literal["refuse", "skip"] = "refuse"  # rows that cannot be used stop the run, or are left out and counted
    map: str | None = None  # "module:function" or "file.py:function": row -> row, or None to leave it out
    options: dict[str, Any] = Field(default_factory=dict)  # for a dataset that is a function
    system: str | None = None  # a system message put before every prompt
    batch: int = Field(default=8, ge=1, le=1_000_000)
    group: int = Field(default=4, ge=1, le=1_000_000)
    shuffle: bool = True
    limit: int | None = Field(default=None, ge=1)
    streaming: bool = False  # read rows as they are needed, for what does not fit into memory
    buffer: int = Field(default=1000, ge=1)  # rows among which a stream is shuffled


class Use(BaseModel):
    """A table that names an offer; all its other keys are the offer's options."""

    model_config = ConfigDict(extra="allow", validate_default=True)
    use: str

    @property
    def options(self) -> dict[str, Any]:
        """The keys that belong to the offer."""
        return dict(self.model_extra or {})


class PolicyTable(Use):
    """`[policy]`: `model = "builtin:NAME"` is short for `use = "NAME"`."""

    use: str = "transformers"

    @model_validator(mode="before")
    @classmethod
    def _built_in(cls, table: Any) -> Any:
        if isinstance(table, Mapping) and str(table.get("model", "")).startswith(BUILT_IN_MODEL):
            rest = {key: value for key, value in table.items() if key != "model"}
            return {"use": str(table["model"]).removeprefix(BUILT_IN_MODEL), **rest}
        return table


class RewardTable(Use):
    """`[[rewards]]`: a source, its weight in its channel, and the name under which it is recorded."""

    name: str = ""
    weight: float = Field(default=1.0, allow_inf_nan=False)
    channel: str = "reward"
    shape: list[dict[str, Any]] | None = None  # what becomes of its scores, in order; one table or several

    @field_validator("shape", mode="before")
    @classmethod
    def _several(cls, shape: Any) -> Any:
        return [shape] if isinstance(shape, Mapping) else shape

    @field_validator("channel")
    @classmethod
    def _known(cls, channel: str) -> str:
        if channel != "reward" and not re.fullmatch(r"cost:\w+", channel):
            raise ValueError("a channel is 'reward' or 'cost:NAME'")
        return channel

    @model_validator(mode="after")
    def _named(self) -> RewardTable:
        self.name = self.name or self.use
        return self


class PluginTable(Table):
    """`[plugins]`: names that must be loaded for this run."""

    require: list[str] = Field(default_factory=list)


class RunConfig(Tables):
    """A whole run, as read from TOML; `RunConfig.load(path)` or `RunConfig.of(mapping)`."""

    run: RunTable = Field(default_factory=RunTable)
    policy: PolicyTable = Field(default_factory=PolicyTable)
    prompts: PromptTable = Field(default_factory=PromptTable)
    actions: list[Use] = Field(default_factory=list)
    judges: dict[str, Use] = Field(default_factory=dict)
    rewards: list[RewardTable] = Field(default_factory=list)
    credit: Use | None = None
    optimiser: Use | None = None
    observers: list[Use] = Field(default_factory=list)
    plugins: PluginTable = Field(default_factory=PluginTable)

    def contradictions(self) -> Iterator[tuple[object, str]]:
        names = [reward.name for reward in self.rewards]
        twice = sorted({name for name in names if names.count(name) > 1})
        yield twice, f'two [[rewards]] are called {min(twice, default="")!r}; give each its own name = "..."'

    def chosen(self) -> list[Use]:
        """Every table that names an offer."""
        single = [table for table in (self.policy, self.credit, self.optimiser) if table]
        return [*single, *self.actions, *self.judges.values(), *self.rewards, *self.observers]


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


def _override(tables: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set {override}: write --set table.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = path.strip().split(".")
    place: Any = tables
    try:
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
        if isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value
    except (IndexError, ValueError, TypeError, AttributeError):
        raise ConfigError(
            f"--set {override}: there is no {path!r}; lists take a number, as in rewards.0.weight"
        ) from None


def _place(error: ValidationError, file: type[Tables]) -> str:
    """`[run] key 'steps' ...`, with a suggestion where the key is unknown."""
    detail = error.errors()[0]
    location = [str(part) for part in detail["loc"]]
    table, key = location[0], ".".join(location[1:])
    if detail["type"] == "missing":
        return f"table [{table}] is missing" if not key else f"[{table}] needs the key {location[-1]!r}"
    if detail["type"] == "extra_forbidden":
        field = file.model_fields[table].annotation
        known = getattr(field, "model_fields", {})
        return f"unknown key {key!r} in [{table}]{suggest(key, known) or '.'} Keys: {', '.join(known)}"
    if detail["type"] == "list_type":
        return f"[{table}] is one table, but there may be several; write [[{table}]]"
    if not key:
        return f"[{table}] {complaint(error)}"
    return f"[{table}] {key!r} {complaint(error)}"


def _expand(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _expand(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item) for item in value]
    if isinstance(value, str) and (text := re.sub(r"\$\{(\w+)\}", _variable, value)) != value:
        return Expanded(text, value)
    return value


def _variable(match: re.Match[str]) -> str:
    name = match[1]
    if name not in os.environ:
        raise ConfigError(f"the config refers to ${{{name}}}, but the environment variable {name} is not set")
    return os.environ[name]
