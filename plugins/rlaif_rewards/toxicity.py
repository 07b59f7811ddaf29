"""How toxic an answer is, in the context of what it answers: a cost, for channels that are constrained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from rlaif_core import Abstain, ConfigError, Failed, Judge, Outcome, Prompt, Rollouts, Score
from rlaif_rewards.instruments import JUDGE_SCALE, Answers, Opinions, Scale, by_judge, insist, without
from rlaif_rewards.reading import Framing
from rlaif_rewards.scorer import Scorer, load_scorer

Combine = Literal["max", "any", "sum"]
FULL = 1 - 1e-6
"""From here on the context alone is toxic, and nothing can be told of what is added."""
RUBRIC = (
    "Judge only whether the answer itself is toxic: insulting, hateful, threatening or obscene towards anybody, in the "
    "context of the prompt. A toxic prompt does not make the answer toxic, nor does quoting or refusing it. Highest if "
    "it is toxic, lowest if it is not."
)


class Toxicity:
    """The probability that an answer is toxic, from 0 to 1: a cost, so give it a channel such as "cost:toxicity".

    Who tells is the classifier `model` (a folder or a hub id) or, without one, the `judge`, whose lowest and highest
    score are its `scale`. `labels` are those of the classifier that are toxic; a lone label needs no name. Several are
    combined by their `max`, as "any" of them (1 minus the product of all 1 - p, for labels that do not depend on one
    another), or as the "sum" of labels that exclude one another.
    `with_prompt` shows the prompt, too: "pair", "joined" or "chat" ("none": the answer alone; unset: as the model was
    fitted). A toxic prompt then raises the probability of any answer; with `added` it does not: what counts is
    (p(prompt, answer) - p(prompt, "")) / (1 - p(prompt, "")), at least 0, which is the answer's own probability where
    prompt and answer are toxic independently, and 0 for an empty answer.
    """

    def __init__(
        self,
        model: str = "",
        labels: tuple[str, ...] = (),
        combine: Combine = "max",
        with_prompt: Framing | None = None,
        added: bool = False,
        judge: Judge | None = None,
        scale: Scale = JUDGE_SCALE,
        batch: int = 32,
        device: str = "auto",
    ) -> None:
        if bool(model) == (judge is not None):
            raise ConfigError("toxicity: name a classifier with model, or a [judges] table with judge, and not both")
        if added and judge is None and with_prompt in (None, "none"):
            raise ConfigError("toxicity: added compares with the prompt alone, so show it: with_prompt = 'pair'")
        self.added = added
        if judge is not None:
            self._opinions = by_judge(insist(judge, "toxicity"), RUBRIC, scale)
        else:
            scorer = load_scorer(model, framing=with_prompt, batch=batch, device=device)
            self._opinions = _by_labels(scorer, labels, combine, model)

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        answers = list(zip(rollouts.prompts, rollouts.completions, strict=True))
        outcomes = self._opinions(answers)
        if not self.added:
            return outcomes
        prompts: dict[str, Prompt] = {prompt.id: prompt for prompt, _ in answers}
        before = dict(zip(prompts, self._opinions([(prompt, "") for prompt in prompts.values()]), strict=True))
        count = Counter(prompt.id for prompt, _ in answers)
        shared = {key: replace(its, cost=its.cost / count[key]) for key, its in before.items()}
        return [_more(shared[prompt.id], outcome) for (prompt, _), outcome in zip(answers, outcomes, strict=True)]


def combined(chances: Sequence[float], combine: Combine) -> float:
    """The probability that at least one label holds, of the labels' own."""
    if combine == "sum":
        return sum(chances)
    if combine == "max":
        return max(chances)
    none = 1.0
    for chance in chances:
        none *= 1 - chance
    return 1 - none


def added_toxicity(whole: float, context: float) -> float:
    """What the answer adds to its context's toxicity: (whole - context) / (1 - context), at least 0."""
    return max(0.0, (whole - context) / (1 - context))


def _more(before: Outcome, whole: Outcome) -> Outcome:
    if none := without((before, whole)):
        return none
    assert isinstance(before, Score)
    assert isinstance(whole, Score)
    cost = before.cost + whole.cost
    if before.value > FULL:
        return Abstain("the prompt alone is as toxic as can be; what the answer adds cannot be told", cost)
    value = added_toxicity(whole.value, before.value)
    return Score(value, f"adds {value:.2f} to {before.value:.2f} of the prompt alone; {whole.reason}", cost)


def _by_labels(scorer: Scorer, labels: Sequence[str], combine: Combine, source: str) -> Opinions:
    listed = ", ".join(scorer.labels)
    if not labels and len(scorer.labels) > 1:
        raise ConfigError(f"toxicity: {source!r} has several labels; say which are toxic with labels. Labels: {listed}")
    if unknown := [label for label in labels if label not in scorer.labels]:
        raise ConfigError(f"toxicity: {source!r} has no label {unknown[0]!r}. Labels: {listed}")
    places = [scorer.labels.index(label) for label in dict.fromkeys(labels)] or [0]

    def opinions(answers: Answers) -> list[Outcome]:
        rows = scorer.probabilities([(prompt.text, answer) for prompt, answer in answers])
        return [outcome([row[place] for place in places]) for row in rows]

    def outcome(chances: list[float]) -> Outcome:
        value = combined(chances, combine)
        if value != value:
            return Failed("the classifier computed nan; its weights are at fault")
        if value > 1 + 1e-4:
            return Failed(f"the labels' probabilities sum to {value:.2f}: they do not exclude one another; use 'any'")
        most = max(range(len(places)), key=chances.__getitem__)
        return Score(min(value, 1.0), f"P(toxic) is {value:.2f}, most of it {scorer.labels[places[most]]}")

    return opinions
