"""The TOML file of `rlaif label`: which rows and answers, who judges, what is asked, and where the labels go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field

from rlaif_core import Sampling
from rlaif_core.config import PluginTable, PolicyTable, PromptTable, Table, Tables, Use
from rlaif_core.run import config_key

What = Literal["scores", "preferences", "ranking", "critiques", "revisions"]
JUDGED: tuple[What, ...] = ("scores", "preferences", "ranking")
"""What a judge says by choosing; the rest it writes."""
FREE = frozenset(
    {"label.out", "label.batch", "label.max_failed", "label.probability", "label.tie", "label.ties"}
    | {"prompts.batch", "prompts.group", "prompts.shuffle", "answers.batch"}
)
"""Keys that may change under a labelling: they say how it goes on, or what is made of verdicts that were paid."""
TREATED = frozenset(
    "account batch budget_calls budget_cost budget_tokens cache concurrency device key patience price_in price_out "
    "requests_per_minute retries timeout tokens_per_minute when_spent".split()
)
"""Options of a judge that may change as well: they say how it is treated, and not what it says."""


class AnswersTable(Table):
    """`[answers]`: where the answers are, or how they are drawn."""

    # A column that holds a list of answers, or a column for each; default: answers, completions, chosen and rejected,
    # or completion, whichever there is.
    columns: str | list[str] = Field(default_factory=list)
    reference: str = ""  # column with an answer that is known to be good
    samples: int = Field(default=0, ge=0)  # answers that [policy] gives to each prompt, in the place of recorded ones
    max_tokens: int = 128
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    stop: str | list[str] = Field(default_factory=list)
    batch: int = Field(default=16, ge=1)  # prompts that are answered at a time

    @property
    def sampling(self) -> Sampling:
        """How they are drawn."""
        its = {name: getattr(self, name) for name in ("max_tokens", "temperature", "top_k", "top_p", "min_p")}
        return Sampling(stop=tuple([self.stop] if isinstance(self.stop, str) else self.stop), **its)


class LabelTable(Table):
    """`[label]`: what is asked of whom, and by what."""

    what: list[What] = Field(min_length=1)
    judges: list[str] = Field(default_factory=list)  # the first decides; default: all that no other judge asks
    rubric: str = ""  # a text, or a file (.md, .toml): what to judge by
    constitution: str = ""  # a file of principles: for critiques and revisions, and to judge by without a rubric
    principles: int = Field(default=1, ge=1)  # principles drawn to judge the answers to a prompt by
    pairs: int = Field(default=0, ge=0)  # pairs of the answers to a prompt that are compared, drawn by seed; 0: all
    rounds: int = Field(default=1, ge=1)  # of critique and revision, each by a principle of its own
    max_tokens: int = Field(default=512, ge=1)  # of a critique or a revision
    temperature: float = Field(default=0.0, ge=0, le=2)  # at which they are written
    seed: int = Field(default=0, ge=0, lt=2**31)
    out: str = "runs/label"
    batch: int = Field(default=0, ge=0)  # questions asked at once; 0: what takes ten seconds, 64 at least
    max_failed: float = Field(default=0.1, ge=0, le=1)  # share of the last questions that may have failed
    # What a comparison's margin m, half the difference between both scores, says: (1 + m) / 2, as is so of language
    # models, or 1 / (1 + exp(-2 m)), as of scores that are log-odds.
    probability: Literal["linear", "logistic"] = "linear"
    tie: float = Field(default=0.0, ge=0, lt=0.5)  # how far from 1/2 a probability is still a tie
    ties: Literal["drop", "keep"] = "drop"  # a row of a tie says chosen and rejected, too, and does not mean it


class GoldTable(Table):
    """`[gold]`: which answer is known to be the better one, to be compared with; no judge sees it.

    The column holds a number for each answer, or, of two, `first`, `second` or `tie`.
    """

    column: str
    first: str | int | float | None = None
    second: str | int | float | None = None
    tie: str | int | float | None = None


class LabelConfig(Tables):
    """A whole `rlaif label`, as read from TOML; `LabelConfig.load(path)` or `LabelConfig.of(mapping)`."""

    prompts: PromptTable
    answers: AnswersTable = Field(default_factory=AnswersTable)
    policy: PolicyTable | None = None
    judges: dict[str, Use]
    label: LabelTable
    gold: GoldTable | None = None
    plugins: PluginTable = Field(default_factory=PluginTable)

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str = "config", overrides: Iterable[str] = ()) -> Self:
        config = super().of(given, where, overrides)
        _ = config.answers.sampling  # a temperature, say, that is none
        return config

    def contradictions(self) -> Iterator[tuple[object, str]]:
        what, answers = self.label.what, self.answers
        yield not self.judges, "there is no judge; add a [judges.NAME] table"
        yield len({*what}) < len(what), f"[label] what names {max(what, key=what.count)!r} twice"
        yield answers.samples and answers.columns, "[answers] gives columns and samples; answers are recorded, or drawn"
        yield (
            answers.samples and self.policy is None,
            "[answers] samples are drawn from a [policy]; add that table, or name the columns of recorded answers",
        )
        yield (
            answers.samples == 1 and {*what} & {"preferences", "ranking"},
            "[answers] samples = 1 leaves nothing to compare an answer with; draw 2 or more",
        )
        yield (
            {*what} & {"critiques", "revisions"} and not self.label.constitution,
            '[label] critiques and revisions need principles; name a file with constitution = "..."',
        )
        yield (
            self.label.rounds > 1 and "revisions" not in what,
            "[label] rounds are those of revisions, which [label] what does not name",
        )
        yield (
            self.gold and {self.gold.first, self.gold.second} == {None} and self.gold.tie is not None,
            "[gold] names a tie, but neither what first nor what second stands for",
        )

    def key(self) -> dict[str, Any]:
        """What must stay as it is while a labelling goes on, flat: "table.key" -> value."""
        return {key: value for key, value in config_key(self).items() if not _free(key)}


def _free(key: str) -> bool:
    table, _, rest = key.partition(".")
    return key in FREE or table == "gold" or (table == "judges" and rest.partition(".")[2] in TREATED)
