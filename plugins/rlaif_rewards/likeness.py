"""When two answers to one question say the same: in spelling, by entailment both ways, in an embedding, by a key.

Answers that admit ignorance say the same as one another and as nothing else; an answer without a final answer in it is
like none.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from rlaif_core import Abstain, ConfigError, Failed, Judge, Rollouts
from rlaif_core.options import OptionGroup
from rlaif_core.prompts import load_function
from rlaif_rewards.abstention import stand
from rlaif_rewards.clusters import components, mutual, numbered
from rlaif_rewards.entailment import Relate, Relation, missing, relating
from rlaif_rewards.final_answer import normalised, number, taking
from rlaif_rewards.groups import chance_free
from rlaif_rewards.instruments import JUDGE_SCALE, Scale, called
from rlaif_rewards.words import canonical

ABSTAINS = -1
"""The label of answers that admit ignorance."""

Group = tuple[str, Sequence[str]]
"""A question, and answers to it."""


@dataclass(frozen=True, slots=True)
class Clustered:
    """Each answer of a group by the number of what it says (`ABSTAINS`: nothing), and what finding out has cost."""

    labels: list[int]
    cost: float = 0.0


Cluster = Callable[[Sequence[Group]], list[Clustered | Abstain | Failed]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness(OptionGroup):
    """When answers are alike: `alike` is "exact" (one spelling or number), "entailment" (each follows from the other
    with a probability of at least `entails`, as `entailment` tells: an NLI checkpoint, "judge", or a function),
    "embedding" (the cosine in the model `embedder` is at least `near`), or a function "file.py:name" from a text to a
    key that is equal for answers that say the same, None for no answer. `take` says where the final answer stands:
    "whole", "tag" (<answer>), "last_line", "number", "boxed", or a function.
    """

    alike: str = "exact"
    entailment: str = ""
    entails: float = 0.5
    embedder: str = ""
    near: float = 0.9
    take: str = "whole"

    def __post_init__(self) -> None:
        if self.alike not in ("exact", "entailment", "embedding") and ":" not in self.alike:
            raise ConfigError(
                f"alike is {self.alike!r}; say 'exact', 'entailment', 'embedding', or a function 'file.py:name'"
            )
        if self.alike == "embedding" and not self.embedder:
            raise ConfigError("alike = 'embedding' needs a model; name its folder or hub id with embedder")
        if not 0 < self.entails <= 1 or not -1 <= self.near <= 1:
            raise ConfigError(
                f"entails is {self.entails:g} and near {self.near:g}; a probability above 0 and a cosine are due"
            )

    def clusters(self, judge: Judge | None = None, scale: Scale = JUDGE_SCALE) -> Cluster:
        """What puts the answers of groups together, ready to be asked."""
        take, keyed = taking(self.take), ":" in self.alike
        link = self._linking(judge, scale)

        def cluster(groups: Sequence[Group]) -> list[Clustered | Abstain | Failed]:
            read = [[_read(answer, take(answer), keyed) for answer in answers] for _, answers in groups]
            asked = [
                (question, [text for text in dict.fromkeys(texts) if text is not None and text is not ABSTAINED])
                for (question, _), texts in zip(groups, read, strict=True)
            ]
            linked = link(asked)
            return [
                _spread(texts, distinct, its) for texts, (_, distinct), its in zip(read, asked, linked, strict=True)
            ]

        return cluster

    def _linking(self, judge: Judge | None, scale: Scale) -> Cluster:
        """Labels of the distinct final answers of groups."""
        if self.alike == "exact":
            return lambda groups: [Clustered(numbered([spelling(text) for text in texts])) for _, texts in groups]
        if self.alike == "entailment":
            return _by_entailment(relating(self.entailment, judge, scale), self.entails)
        if self.alike == "embedding":
            return _by_embedding(self.embedder, self.near)
        return _by_key(self.alike)


def unclustered(
    rollouts: Rollouts, rows: Sequence[int], found: Clustered | Abstain | Failed
) -> Abstain | Failed | None:
    """Why nothing can be said of how far the answers of a group agree; None where something can."""
    if len(rows) < 2:
        return Abstain("a single answer has no siblings to agree with; raise [prompts] group")
    if chance_free(rollouts, rows):
        return Abstain("drawn without chance, so that the answers agree whatever is known")
    return None if isinstance(found, Clustered) else found


EXACT = Likeness()
ABSTAINED = "\0abstained"


def spelling(text: str) -> object:
    """What is equal for final answers that are one: the number that it is, else its normalised spelling."""
    value = number(text)
    return normalised(text) if value is None else value


def _read(answer: str, final: str | None, keyed: bool) -> str | None:
    """The final answer, `ABSTAINED` (which a key tells by itself), or None where there is none."""
    if not keyed and stand(answer) == "abstains":
        return ABSTAINED
    return final if final is not None and canonical(final) else None


def _spread(
    texts: Sequence[str | None], distinct: Sequence[str], found: Clustered | Abstain | Failed
) -> Clustered | Abstain | Failed:
    """The labels of distinct texts to all that say them, whoever says nothing by a label of its own."""
    if not isinstance(found, Clustered):
        return found
    label = dict(zip(distinct, found.labels, strict=True))
    fresh = max([*found.labels, ABSTAINS]) + 1
    labels = []
    for text in texts:
        if text is None:
            labels.append(fresh)
            fresh += 1
        else:
            labels.append(ABSTAINS if text is ABSTAINED else label[text])
    return Clustered(labels, found.cost)


def _by_entailment(relate: Relate, entails: float) -> Cluster:
    def link(groups: Sequence[Group]) -> list[Clustered | Abstain | Failed]:
        ways = [
            [(one, other) for one in range(len(texts)) for other in range(len(texts)) if one != other]
            for _, texts in groups
        ]
        # The question goes with both, as in Kuhn et al. (2023): "yes" follows from "yes" to the same question alone.
        pairs = [
            (f"{question} {texts[one]}", f"{question} {texts[other]}")
            for (question, texts), its in zip(groups, ways, strict=True)
            for one, other in its
        ]
        relations = iter(relate(pairs))
        return [
            _linked(len(texts), {way: next(relations) for way in its})
            for (_, texts), its in zip(groups, ways, strict=True)
        ]

    def _linked(count: int, told: dict[tuple[int, int], Relation | Abstain | Failed]) -> Clustered | Abstain | Failed:
        if none := missing(list(told.values())):
            return none
        related = {way: its for way, its in told.items() if isinstance(its, Relation)}
        links = mutual(count, lambda one, other: related[one, other].entailment >= entails)
        return Clustered(components(count, links), sum(its.cost for its in related.values()))

    return link


def _by_embedding(source: str, near: float) -> Cluster:
    from rlaif_rewards.embedding import Embedder

    embed = Embedder(source)

    def link(groups: Sequence[Group]) -> list[Clustered | Abstain | Failed]:
        found: list[Clustered | Abstain | Failed] = []
        for _, texts in groups:
            vectors = embed(texts)
            close = (vectors @ vectors.T >= near).tolist()
            links = mutual(len(texts), lambda one, other, close=close: close[one][other])  # type: ignore[misc]
            found.append(Clustered(components(len(texts), links)))
        return found

    return link


def _by_key(path: str) -> Cluster:
    function = load_function(path)

    def link(groups: Sequence[Group]) -> list[Clustered | Abstain | Failed]:
        texts = [text for _, its in groups for text in its]
        keys = iter(called(path, function, [(text,) for text in texts]))
        return [Clustered(_numbered_keys([next(keys) for _ in its])) for _, its in groups]

    return link


def _numbered_keys(keys: Sequence[Hashable]) -> list[int]:
    return [ABSTAINS if key is None else label for key, label in zip(keys, numbered(keys), strict=True)]
