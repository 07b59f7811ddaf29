"""What reward sources and judges say: typed outcomes, never a bare number that might stand for a failure.

`Score` is a number with its reason, `Abstain` no opinion, `Failed` an outage; `Feedback` gathers them per source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from rlaif_core.errors import FeedbackError

if TYPE_CHECKING:
    from torch import Tensor

    from rlaif_core.types import Prompt


LARGEST = 1e30
"""Beyond this a score would be infinite in float32, once it is weighted and summed."""
DIGITS = 14
"""So many decimal digits of a sum of float64 are those of what was summed, and no rounding."""


@dataclass(frozen=True, slots=True)
class Score:
    """A reward source's verdict on one answer: a finite number, why, and what asking cost (in its own currency)."""

    value: float
    reason: str = ""
    cost: float = 0.0
    unshaped: float | None = None  # what it was, where its [[rewards]] table has a shape

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _number("a score", self.value))
        _check_said(self)
        if not math.isfinite(self.value):
            raise FeedbackError(f"a score is {self.value}; return Abstain(reason) or Failed(reason) when there is none")
        if abs(self.value) > LARGEST:
            raise FeedbackError(f"a score is {self.value:g}, more than float32 can hold; scale it down")


@dataclass(frozen=True, slots=True)
class Abstain:
    """The source has no opinion on this answer; it is left out, never counted as a number."""

    reason: str = ""
    cost: float = 0.0

    def __post_init__(self) -> None:
        _check_said(self)


@dataclass(frozen=True, slots=True)
class Failed:
    """The source could not judge this answer (outage, unreadable verdict). Never a number; too many stop the run."""

    reason: str
    cost: float = 0.0

    def __post_init__(self) -> None:
        _check_said(self)


Outcome = Score | Abstain | Failed


def _check_said(outcome: Outcome) -> None:
    """What is written down beside a verdict must be what the ledger can hold, before anything is trained on it."""
    if not isinstance(outcome.reason, str):
        kind, given = type(outcome).__name__, type(outcome.reason).__name__
        raise FeedbackError(f"the reason of a {kind} is a {given}, but must be a text; write str(...)")
    object.__setattr__(outcome, "cost", _number("a cost", outcome.cost))


def _number(what: str, value: Any) -> float:
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise FeedbackError(f"{what} is a {type(value).__name__}, but must be a number") from None
    except OverflowError:
        raise FeedbackError(f"{what} is more than float32 can hold; scale it down") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a source returns that also scores tokens: B outcomes, each the sum of its row of tokens [B,T] f32."""

    outcomes: Sequence[Outcome]
    tokens: Tensor


Form = Literal["score", "compare", "rank"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a judge is asked: the answers given to one prompt, and the rubric to judge them by.

    `form` "score" asks about each answer by itself, "compare" about two against each other, "rank" about all of them
    at once; of the last two only the differences between the outcomes count, so that a judge which only scores may
    ignore the form. `levels` describe what a score may be, the worst first (none: as the judge likes); `reference` is
    an answer known to be good, where there is one.
    """

    prompt: Prompt
    answers: tuple[str, ...]
    rubric: str = ""
    form: Form = "score"
    levels: tuple[str, ...] = ()
    reference: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "answers", tuple(self.answers))
        object.__setattr__(self, "levels", tuple(self.levels))
        if self.form not in get_args(Form):
            raise FeedbackError(f"a question's form is {self.form!r}, but must be one of {', '.join(get_args(Form))}")
        if self.form == "compare" and len(self.answers) != 2:
            raise FeedbackError(f"a question compares {len(self.answers)} answers, but must two; ask in pairs, or rank")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A judge's reply to a `Question`: one outcome for each of its answers, in their order.

    `measured` holds what may be known about the asking itself, by name: "disagreement" between the two orders in which
    answers were shown (0 to 1), "confidence" (0 to 1), "position_bias" (above 0: towards the first), "margin" (of the
    first of two answers, as the orders have it on average), and how many "calls", "tokens_in", "tokens_out" it took.
    """

    outcomes: tuple[Outcome, ...]
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What every reward source said about every answer, with the weight and channel under which it counts.

    `outcomes` maps a source's name to B outcomes; `token_scores` optionally to [B,T] f32. `channels` defaults to
    "reward"; other channels are costs ("cost:toxicity"), read by constrained optimisers. `contributed` names the
    sources that the optimiser brought (a KL penalty): they count in the advantages, not in the reported reward.
    """

    outcomes: Mapping[str, tuple[Outcome, ...]]
    token_scores: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)
    contributed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        outcomes = {name: tuple(said) for name, said in self.outcomes.items()}
        if not outcomes:
            raise FeedbackError("Feedback has no source; configure at least one [[rewards]] table")
        if len({len(said) for said in outcomes.values()}) > 1:
            counts = ", ".join(f"{name}: {len(said)}" for name, said in outcomes.items())
            raise FeedbackError(f"sources disagree on the number of answers ({counts})")
        for kind in ("weights", "channels", "token_scores", "contributed"):
            if unknown := set(getattr(self, kind)) - set(outcomes):
                raise FeedbackError(f"Feedback.{kind} names {sorted(unknown)}, which gave no outcomes")
        object.__setattr__(self, "outcomes", MappingProxyType(outcomes))
        object.__setattr__(self, "token_scores", MappingProxyType(dict(self.token_scores)))
        object.__setattr__(
            self, "weights", MappingProxyType({name: float(self.weights.get(name, 1.0)) for name in outcomes})
        )
        object.__setattr__(
            self, "channels", MappingProxyType({name: self.channels.get(name, "reward") for name in outcomes})
        )

    def sources(self, channel: str = "reward", *, contributed: bool = True) -> tuple[str, ...]:
        """Names of the sources that count in `channel`, with or without those of the optimiser."""
        return tuple(
            name
            for name, its in self.channels.items()
            if its == channel and (contributed or name not in self.contributed)
        )

    def take(self, rows: Sequence[int]) -> Feedback:
        """What was said about some of the answers, in the given order."""
        return Feedback(
            outcomes={name: tuple(said[row] for row in rows) for name, said in self.outcomes.items()},
            token_scores={name: scores[list(rows)] for name, scores in self.token_scores.items()},
            weights=self.weights,
            channels=self.channels,
            contributed=self.contributed,
        )

    def fraction(self, kind: type[Abstain] | type[Failed]) -> float:
        """Share of all outcomes that are of `kind`, what the optimiser contributed left aside."""
        shares = [share for _, share in self.shares(kind)]
        return sum(shares) / max(len(shares), 1)

    def shares(self, kind: type[Abstain] | type[Failed]) -> list[tuple[str, float]]:
        """Each configured source with the share of its outcomes that are of `kind`."""
        own = {name: said for name, said in self.outcomes.items() if name not in self.contributed}
        return [(name, sum(isinstance(o, kind) for o in said) / max(len(said), 1)) for name, said in own.items()]

    def heard(
        self, group: Tensor, channel: str = "reward", *, contributed: bool = True
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Which scores count in `channel`: ({source: [B] bool}, and of which answers any does [B] bool), on the CPU.

        An answer that no configured source scored is left out: what the optimiser contributes (a KL penalty) adds to
        an opinion and is none by itself, unless nothing else was asked. Among the others of its group, a source that
        lacks a score for any is left out for the whole group, so that siblings are compared on the same terms; a group
        in which no source is left is left out altogether.
        """
        import torch

        names = self.sources(channel, contributed=contributed)
        own = torch.tensor([name not in self.contributed for name in names], dtype=torch.bool)
        opinion = own | ~own.any()
        said = [[self.outcomes[name][row] for name in names] for row in range(len(group))]
        has = torch.tensor([[isinstance(o, Score) for o in row] for row in said], dtype=torch.bool)
        has = has.reshape(len(group), len(names))
        counted = (has & opinion).any(1)
        usable = torch.ones_like(has)
        group = group.cpu()
        for label in set(group[counted].tolist()):
            members = (group == label) & counted
            usable[members] = has[members].all(0)
        counted = counted & (usable & opinion).any(1)
        heard = usable & counted[:, None]
        return {name: heard[:, place] for place, name in enumerate(names)}, counted

    def totals(
        self, group: Tensor, channel: str = "reward", *, contributed: bool = True, exact: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Weighted sum over the scores of `channel` that are `heard`: (values [B], counted [B] bool); 0 where not
        counted. Values are f32, or `exact` f64 to 14 digits of the group's largest, for differences that are small
        beside the values themselves."""
        import torch

        heard, counted = self.heard(group, channel, contributed=contributed)
        values = torch.zeros(len(group), dtype=torch.float64)
        size = torch.zeros(len(group), dtype=torch.float64)
        for name, its in heard.items():
            said = [o.value if isinstance(o, Score) else 0.0 for o in self.outcomes[name]]
            part = self.weights[name] * torch.tensor(said, dtype=torch.float64).where(its, 0.0)
            values, size = values + part, size + part.abs()
        return _rounded(values, size, group) if exact else values.float(), counted

    def by_channel(self, group: Tensor, *, exact: bool = False) -> tuple[dict[str, Tensor], Tensor]:
        """`totals` of every channel, and the answers that count in all of them: ({channel: [B]}, [B] bool)."""
        channels = dict.fromkeys(self.channels.values())
        totals = {channel: self.totals(group, channel, exact=exact) for channel in channels}
        counted = None
        for _, its in totals.values():
            counted = its if counted is None else counted & its
        assert counted is not None
        return {
            channel: values.where(counted, values.new_zeros(())) for channel, (values, _) in totals.items()
        }, counted


def _rounded(values: Tensor, sizes: Tensor, group: Tensor) -> Tensor:
    """[B] f64 to `DIGITS` digits of the largest of `sizes` [B] in the group: a grid of decimals, on which what people
    write lies, so that sums of it meet where they should."""
    import torch

    numbers = torch.unique(group.cpu(), return_inverse=True)[1]
    largest = sizes.new_zeros(len(sizes)).scatter_reduce(0, numbers, sizes, "amax")[numbers]
    usable = largest.isfinite() & (largest > 1e-270)  # beyond, the powers of ten below are no float64
    decimals = DIGITS - largest.where(usable, 1.0).log10().ceil()
    up, down = 10 ** decimals.clamp(min=0), 10 ** (-decimals).clamp(min=0)
    return ((values / down * up).round() / up * down).where(usable, values)


def outcomes_of(said: Any, rows: int) -> tuple[Outcome, ...]:
    """Turn what a source returned (outcomes, numbers or a tensor [B]) into B typed outcomes, or say what is wrong."""
    if said is None or isinstance(said, str | bytes | Mapping):
        raise FeedbackError(
            f"returned {type(said).__name__}, but must return {rows} outcomes or numbers, one an answer"
        )
    items: Sequence[Any] = said.tolist() if hasattr(said, "tolist") else said
    if not hasattr(items, "__len__"):
        raise FeedbackError(f"returned one {type(said).__name__}, but must return {rows} outcomes, one an answer")
    if len(items) != rows:
        raise FeedbackError(f"returned {len(items)} outcomes for {rows} answers")
    return tuple(outcome_of(item, row) for row, item in enumerate(items))


def outcome_of(item: Any, row: int) -> Outcome:
    """One outcome from what was returned for answer `row`: an outcome, a number, or None for no opinion."""
    if isinstance(item, Score | Abstain | Failed):
        return item
    if getattr(item, "ndim", None) == 0:
        item = item.item()  # a number of torch or numpy
    if item is None:
        return Abstain("the source returned None")
    if isinstance(item, bool | int | float):
        if isinstance(item, float) and not math.isfinite(item):
            raise FeedbackError(f"answer {row} scored {item}; return Abstain(reason) or Failed(reason) instead")
        return Score(item)
    raise FeedbackError(f"answer {row} got a {type(item).__name__}; return Score, Abstain, Failed or a number")
