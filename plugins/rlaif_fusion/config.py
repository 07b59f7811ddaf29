"""The config of `rlaif fuse`: which rows, which columns are sources and what their values mean, what is trusted."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from rlaif_core.config import PromptTable, Table, Tables
from rlaif_core.fusing import Kind
from rlaif_fusion.fuse import Method

Code = bool | int | float | str


class DataTable(Table):
    """`[data]`: rows as in `[prompts]` of a run, and their columns with the prompt and the two answers."""

    dataset: str | None = None
    files: str | list[str] = Field(default_factory=list)
    split: str = "train"
    map: str | None = None
    limit: int | None = Field(default=None, ge=1)
    prompt: str = "prompt"
    id: str | None = None
    first: str = "first"
    second: str = "second"

    def prompts(self) -> PromptTable:
        """The table by which the core reads rows."""
        shared = {name: getattr(self, name) for name in ("dataset", "files", "split", "map", "limit", "id")}
        return PromptTable(**shared, column=self.prompt)


class Coded(Table):
    """A column, and which of its values speak for the first answer, the second, or neither."""

    column: str = ""  # "preferences.judge" is the entry "judge" of the column "preferences"
    first: Code = 1
    second: Code = 2
    tie: Code | None = 0


class SourceTable(Coded):
    """`[[sources]]`: one source. A vote is one of the three values; a probability runs from `second` to `first`, by
    default from 0 to 1; a score is a margin, or the difference of two `columns`."""

    name: str
    kind: Kind = "vote"
    columns: tuple[str, str] | None = None
    order: str = ""  # "first": it was shown the first answer first; "second": last; or a column, true where last

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("kind") == "probability":
            return {"first": 1.0, "second": 0.0, "tie": None} | table
        return table

    @model_validator(mode="after")
    def _fits(self) -> SourceTable:
        if bool(self.column) == bool(self.columns):
            raise ValueError("needs a column, or of kind score two columns")
        if self.columns and self.kind != "score":
            raise ValueError(f"of kind {self.kind} is read from one column, not two")
        ends = (self.first, self.second)
        if self.kind == "probability" and (any(isinstance(end, str) for end in ends) or ends[0] == ends[1]):
            raise ValueError("of kind probability needs two different numbers, first and second")
        return self


class TrustedTable(Coded):
    """`[trusted]`: labels that are right, in a column of the rows or of a `file` with the same ids.

    `held_out` is the share of them that is kept for measuring and not learnt from.
    """

    column: str
    file: str = ""
    id: str = "id"
    held_out: float = Field(default=0.5, ge=0, lt=1)


class FusionTable(Table):
    """`[fusion]`: how, and where to."""

    method: Method = "auto"
    length: bool = False  # let sources be biased by the answers' lengths
    mirrored: bool = True  # which answer is the first means nothing
    level: float = Field(default=0.95, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)
    out: str = "fused"


class FuseConfig(Tables):
    """A whole config; `FuseConfig.load(path)`."""

    data: DataTable
    sources: list[SourceTable] = Field(min_length=1)
    trusted: TrustedTable | None = None
    fusion: FusionTable = Field(default_factory=FusionTable)

    @field_validator("sources")
    @classmethod
    def _differ(cls, sources: list[SourceTable]) -> list[SourceTable]:
        names = [source.name for source in sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two [[sources]] are called {twice[0]!r}")
        return sources
