"""The TOML file of `rlaif judge`: the pairs, what is known about them, and the judges that are examined."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlaif_core.config import PluginTable, PolicyTable, PromptTable, Table, Tables, Use
from rlaif_judges.label.config import AnswersTable, GoldTable


class ExamTable(Table):
    """`[exam]`: what is asked, and where the results go."""

    judges: list[str] = Field(default_factory=list)  # default: all
    rubric: str = ""  # a text, or a file (.md, .toml) of one criterion: what to judge by
    calibrate: Literal["", "platt", "isotonic"] = ""  # fit a calibration for each judge, to be named by its option
    own: dict[str, str] = Field(default_factory=dict)  # judge -> what the column `author` calls its own answers
    author: str | list[str] = ""  # column with the authors of both answers (a list), or a column for each
    out: str = "runs/judges"


class ExamConfig(Tables):
    """A whole `rlaif judge`, as read from TOML."""

    prompts: PromptTable
    answers: AnswersTable = Field(default_factory=AnswersTable)
    gold: GoldTable | None = None
    policy: PolicyTable | None = None
    judges: dict[str, Use]
    exam: ExamTable = Field(default_factory=ExamTable)
    plugins: PluginTable = Field(default_factory=PluginTable)
