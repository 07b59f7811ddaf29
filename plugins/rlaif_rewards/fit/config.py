"""The TOML file of `rlaif fit`: which rows, which columns, what is fitted to them, and where it goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from rlaif_core.config import Table, Tables
from rlaif_core.recordings import Answers, Format
from rlaif_rewards.fit.losses import Ties
from rlaif_rewards.reading import Framing

Kind = Literal["tfidf", "embedding", "stacked", "transformer"]
Target = Literal["classifier", "reward_model"]
Strength = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DataTable(Table):
    """`[data]`: where the rows are, what their columns mean, and how they are split."""

    dataset: str | None = None  # as in [prompts]: anything datasets.load_dataset takes, or a function
    files: str | list[str] = Field(default_factory=list)
    split: str = "train"
    format: Format | None = None  # how answers are recorded, for a reward model: "preference" or "scored"
    columns: dict[Answers, str] = Field(default_factory=dict)  # what the columns of recorded answers are called here
    transcripts: bool = False  # texts of "\n\nHuman: ...\n\nAssistant: ..." turns become chat messages
    map: str | None = None  # "module:function" or "file.py:function": row -> row, or None to leave it out
    options: dict[str, Any] = Field(default_factory=dict)
    limit: int | None = Field(default=None, ge=1)
    broken: Literal["refuse", "skip"] = "refuse"  # rows that cannot be used stop it, or are left out and counted

    # Column with what was asked: a text or chat messages. Default: for a reward model as [prompts] column, which may be
    # the beginning of both answers; a classifier's texts answer nothing.
    prompt: str | None = None
    # Rows that agree in it stay on one side of a split. Default: what was asked first, else the text.
    group: str | None = None
    held_out: float = Field(default=0.2, gt=0, lt=1)  # share of the rows that are never learnt from

    # Column with what is classified. Default: "text"; behind a prompt "completion", or the last message.
    text: str | None = None
    label: str | None = None  # column with the label: a text, a number or a truth value
    votes: list[str] = Field(default_factory=list)  # or columns with counts of votes, each a label of its name
    labels: dict[str, str] = Field(default_factory=dict)  # what is found in the column -> label, several to one
    unlabelled: Literal["refuse", "drop"] = "refuse"  # rows without a label (null)

    tie: str | None = None  # of pairs: column with truth values: neither was preferred
    probability: str | None = None  # column with how surely `chosen` was preferred, 0.5 to 1, or 0 to 1
    margin: str | None = None  # column with by how much, 0 or more
    annotator: str | None = None  # column with who said so; each is fitted how far to be believed


class FitTable(Table):
    """`[fit]`: what is fitted."""

    kind: Kind = "stacked"  # TF-IDF, a language model's states, both, or a transformer of its own
    target: Target = "classifier"
    seed: int = Field(default=0, ge=0, lt=2**31)
    out: str = "runs/fit"
    framing: Framing | None = None  # how a text is shown; default: "pair" where there is a prompt, else "none"
    balanced: bool = False  # labels count alike, however rare they are
    noise: float = Field(default=0.0, ge=0, lt=0.5)  # share of labels that are wrong, any other label being as likely
    ties: Ties = "none"  # how ties are modelled; their strength is fitted
    ranking: Literal["pairs", "plackett_luce"] = "pairs"  # answers with scores: every two by themselves, or their order
    odin: bool = False  # a head for length is fitted beside the one for quality, and left out (Chen et al. 2024)
    members: int = Field(default=1, ge=1, le=64)  # fits by other chances, each in a folder of its own
    start: Literal["one", "several"] = "one"  # members begin alike, so that weights can be averaged, or each anew
    positive: str | None = None  # of two labels the one that AUROC is about; default: the second
    batch: int = Field(default=32, ge=1)  # texts that a language model reads at a time
    device: str = "auto"


class LinearTable(Table):
    """`[linear]`: features and regression of the kinds tfidf, embedding and stacked."""

    words: tuple[int, int] | tuple[()] = (1, 2)  # n-grams of so many words; []: none
    characters: tuple[int, int] | tuple[()] = (2, 5)
    rarest: int = Field(default=2, ge=1)  # texts in which an n-gram must occur
    most: int = Field(default=50_000, ge=1)  # n-grams of each kind that are kept, the most frequent
    model: str = ""  # language model whose states are features: a folder or a hub id
    layers: tuple[int, ...] = (-1,)  # 0 the embeddings, -1 the last
    max_length: int = Field(default=256, ge=1)  # tokens of a text that are read
    # Inverse strengths of the penalty: the larger, the closer to the data.
    strengths: list[Strength] = Field(default_factory=lambda: [0.03, 0.3, 3.0, 30.0], min_length=1)
    folds: int = Field(default=3, ge=2)  # parts of the cross-validation that chooses among the strengths


class TransformerTable(Table):
    """`[transformer]`: the checkpoint to go on from, or the sizes of a new one, and how it is trained."""

    model: str = ""  # folder or hub id; "" trains a small one from scratch, with a tokeniser of its own
    hidden: int = Field(default=128, ge=8)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    vocabulary: int = Field(default=4000, ge=300)  # byte-pair tokens at most
    dropout: float = Field(default=0.1, ge=0, lt=1)  # of a new model
    max_length: int = Field(default=256, ge=2)
    epochs: int = Field(default=10, ge=1)  # at most
    patience: int = Field(default=2, ge=1)  # epochs without a better validation loss after which training ends
    validation: float = Field(default=0.15, gt=0, lt=1)  # share of the rows learnt from, for that and temperature
    batch: int = Field(default=16, ge=1)
    lr: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)  # share of the steps
    centring: float = Field(default=0.01, ge=0)  # weight of the squared sum of a pair's rewards
    decorrelation: float = Field(default=1.0, ge=0)  # weights of what keeps ODIN's heads apart: by length,
    orthogonality: float = Field(default=1.0, ge=0)  # and from each other
    append_eos: bool = False


class FitConfig(Tables):
    """A whole `rlaif fit`, as read from TOML; `FitConfig.load(path)` or `FitConfig.of(mapping)`."""

    data: DataTable
    fit: FitTable = Field(default_factory=FitTable)
    linear: LinearTable = Field(default_factory=LinearTable)
    transformer: TransformerTable = Field(default_factory=TransformerTable)

    @property
    def framing(self) -> Framing:
        """How texts are shown."""
        return self.fit.framing or ("pair" if self.prompted else "none")

    @property
    def prompted(self) -> bool:
        """Whether what is read answers something."""
        return self.data.prompt is not None or self.fit.target == "reward_model"

    def contradictions(self) -> Iterator[tuple[object, str]]:
        data, fit, linear, own = self.data, self.fit, self.linear, self.transformer
        yield data.label and data.votes, "[data] label and votes are two ways to say the same; give one"
        yield len(data.votes) == 1, "[data] votes names one column; name the columns of all labels"
        yield data.tie and data.probability, "[data] tie and probability are two ways to say the same; give one"
        yield (
            data.tie and fit.ties == "none",
            '[data] tie wants a model of ties: [fit] ties = "davidson" or "rao_kupper"',
        )
        yield (
            data.format not in (None, "preference", "scored"),
            f"[data] format = {data.format!r} records no two answers to compare; a reward model learns from "
            "'preference' or 'scored', a classifier from [data] text and label",
        )
        yield (
            fit.ranking == "plackett_luce" and (data.tie or data.probability or data.margin or data.annotator),
            "[fit] ranking = 'plackett_luce' is about answers with scores; [data] tie, probability, margin and "
            "annotator are about pairs",
        )
        if fit.target == "classifier":
            yield fit.odin, "[fit] odin keeps length out of a reward model; a classifier has no such head"
            yield data.format or data.columns, "[data] format and columns are a reward model's; name [data] text"
            yield not (data.label or data.votes), "a classifier needs [data] label, or votes: who says what a text is"
        yield (
            fit.kind in ("embedding", "stacked") and not linear.model,
            f"kind {fit.kind!r} needs [linear] model, a language model whose states are features; else choose 'tfidf'",
        )
        yield (
            fit.framing in ("joined", "chat") and fit.kind != "transformer",
            f"[fit] kind {fit.kind!r} reads a text alone or beside its prompt; set framing to 'none' or 'pair'",
        )
        yield (
            fit.framing not in (None, "none") and not self.prompted,
            f"[fit] framing {fit.framing!r} shows a prompt, but [data] prompt names no column",
        )
        for name, span in (("words", linear.words), ("characters", linear.characters)):
            yield (
                span and not 1 <= span[0] <= span[1] <= 10,
                f"[linear] {name} = {span}: write [least, most], two numbers from 1 to 10",
            )
        yield not any((linear.words, linear.characters)), "[linear] words and characters are both empty; keep one"
        yield (
            own.hidden % (2 * own.heads),
            f"[transformer] hidden = {own.hidden} is no even multiple of {own.heads} heads",
        )
