"""A reward source whose scores are shaped, as `shape` in its [[rewards]] table says.

Who abstained or failed is passed by; every score says what it was (`Score.unshaped`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rlaif_core.errors import ConfigError, PluginError, suggest
from rlaif_core.feedback import LARGEST, Failed, Outcome, Score, Scored, outcomes_of
from rlaif_core.options import checked
from rlaif_core.shaping import Bounded, Clip, LengthFree, Scale, Shape, Standardise, Values

if TYPE_CHECKING:
    from rlaif_core.protocols import RewardSource, State
    from rlaif_core.types import Prompt, Rollouts

Recorded = Callable[[Sequence["Prompt"], Sequence[Sequence[str]]], "Rollouts"]
"""Makes rollouts of given answers, as `Sampler.recorded` does."""

KINDS: Mapping[str, type[Shape]] = {
    "bounded": Bounded,
    "clip": Clip,
    "length_free": LengthFree,
    "scale": Scale,
    "standardise": Standardise,
}


def shapes(tables: Iterable[Mapping[str, Any]], where: str) -> list[Shape]:
    """Build what `shape = {kind = ..., ...}`, or a list of such that is applied in order, asks for."""
    made: list[Shape] = []
    for table in tables:
        kind = str(table.get("kind", ""))
        if kind not in KINDS:
            close = suggest(kind, KINDS)
            raise ConfigError(f"{where}: there is no shape {kind!r}{close or '.'} Kinds: {', '.join(KINDS)}")
        options = {name: value for name, value in table.items() if name != "kind"}
        made.append(KINDS[kind](**checked(KINDS[kind], options, f"{where}: shape {kind!r}")))
    if any(isinstance(its, Bounded) and its.asks for its in made[1:]):
        raise ConfigError(f"{where}: a shape that compares with the answer in a column must be the first")
    return made


class Shaped:
    """A source whose scores are shaped; what the source and the shapes remember is its state.

    Each score keeps its reason and cost, and says what it was. Sources that score tokens cannot be shaped.
    """

    def __init__(self, source: RewardSource, how: Sequence[Shape], recorded: Recorded) -> None:
        self.source, self._shapes, self._recorded = source, tuple(how), recorded

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        said = self._said(rollouts)
        values: Values = {row: its.value for row, its in enumerate(said) if isinstance(its, Score)}
        for shape in self._shapes:
            scores = {row: it for row, it in values.items() if isinstance(it, float)}
            values |= shape(scores, rollouts, self._ask)
        return [_told(outcome, values[row]) if row in values else outcome for row, outcome in enumerate(said)]

    def _said(self, rollouts: Rollouts) -> tuple[Outcome, ...]:
        said = self.source.score(rollouts)
        if isinstance(said, Scored):
            raise PluginError("it scores tokens, and a shape is for scores of whole answers; drop 'shape'")
        return outcomes_of(said, len(rollouts))

    def _ask(self, answers: Sequence[tuple[Prompt, str]]) -> Sequence[Outcome]:
        if not answers:
            return ()
        return self._said(self._recorded([prompt for prompt, _ in answers], [[text] for _, text in answers]))

    def state_dict(self) -> State:
        remembers = getattr(self.source, "state_dict", None)
        return {
            "source": remembers() if remembers else {},
            "shapes": [shape.state_dict() for shape in self._shapes],
        }

    def load_state_dict(self, state: State) -> None:
        if hasattr(self.source, "load_state_dict"):
            self.source.load_state_dict(state["source"])
        for shape, its in zip(self._shapes, state["shapes"], strict=True):
            shape.load_state_dict(its)


def _told(was: Outcome, value: float | Outcome) -> Outcome:
    if not isinstance(value, float | int):
        return replace(value, cost=value.cost + was.cost)
    assert isinstance(was, Score)
    if not abs(value) <= LARGEST:
        return Failed(f"shaping {was.value:g} came to {value}; {was.reason}", was.cost)
    unshaped = was.value if was.unshaped is None else was.unshaped
    return replace(was, value=value, unshaped=unshaped)
