"""Whether the claims of an answer are borne out by the evidence that a dataset gives for its prompt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from rlaif_core import Abstain, ConfigError, Judge, Outcome, Prompt, Rollouts, Score
from rlaif_core.prompts import load_function
from rlaif_rewards.abstention import admits
from rlaif_rewards.entailment import Related, Relation, missing, relating
from rlaif_rewards.final_answer import normalised
from rlaif_rewards.instruments import JUDGE_SCALE, Scale, called, column, texts
from rlaif_rewards.questions import is_question
from rlaif_rewards.sentences import sentences

Finding = Literal["supported", "refuted", "unverifiable"]


class Factuality:
    """penalty * supported - `refuted` * refuted - `unverifiable` * unverifiable, each the share of the answer's claims.

    A claim is supported where it follows from a passage in the column `evidence` (a text or a list of them) with a
    probability of at least `entails`, refuted where one contradicts it as much and more, and else unverifiable; the
    instrument `entailment` tells: an NLI checkpoint, "judge", or a function. With both costs at 0 this is FActScore
    (Min et al., 2023): charge at least what is refuted where answers may choose what they say. `gamma` is FActScore's
    penalty for saying little: exp(1 - gamma / n) for n claims up to gamma (10 there; 0, the default: none).

    Claims are sentences (`claims` may be a function "file.py:name" from a text to a list of texts instead), less those
    that ask, admit ignorance, or repeat a sentence of the prompt; a claim made twice counts once. Beyond the `most`
    first, nobody is asked and claims are unverifiable. An answer without a claim gets `no_claims`; where that is unset,
    no opinion.
    """

    def __init__(
        self,
        entailment: str,
        evidence: str = "evidence",
        entails: float = 0.5,
        refuted: float = 0.0,
        unverifiable: float = 0.0,
        gamma: int = 0,
        no_claims: float | None = None,
        claims: str = "sentences",
        most: int = 100,
        judge: Judge | None = None,
        scale: Scale = JUDGE_SCALE,
    ) -> None:
        if not (0 <= refuted < math.inf and 0 <= unverifiable < math.inf and gamma >= 0):
            raise ConfigError("factuality: refuted, unverifiable and gamma must be at least 0, and finite")
        if not 0 < entails <= 1 or most < 1:
            raise ConfigError(f"factuality: entails is {entails:g} and most {most}; from above 0 to 1, and 1 or more")
        if claims != "sentences" and ":" not in claims:
            raise ConfigError(f"factuality: claims is {claims!r}; say 'sentences', or a function 'file.py:name'")
        self.evidence, self.entails, self.gamma = evidence, entails, gamma
        self.costs, self.most = (refuted, unverifiable), most
        self.no_claims, self._claims = no_claims, claims
        self._split = None if claims == "sentences" else load_function(claims)
        self._relate = relating(entailment, judge, scale)

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        pairs = list(zip(rollouts.prompts, rollouts.completions, strict=True))
        evidence = [texts(column(p, self.evidence), f"column {self.evidence!r} of prompt {p.id!r}") for p, _ in pairs]
        said = self._said(pairs)
        asked = [
            (passage, claim)
            for passages, claims in zip(evidence, said, strict=True)
            for claim in claims[: self.most]
            for passage in passages
        ]
        told = iter(self._relate(asked))
        return [
            self._outcome(claims, [[next(told) for _ in passages] for _ in claims[: self.most]], bool(passages))
            for passages, claims in zip(evidence, said, strict=True)
        ]

    def _said(self, pairs: Sequence[tuple[Prompt, str]]) -> list[list[str]]:
        if self._split is None:
            return [claims_of(answer, prompt.text) for prompt, answer in pairs]
        split = called(self._claims, self._split, [(answer,) for _, answer in pairs])
        return [distinct([str(claim) for claim in its]) for its in split]

    def _outcome(self, claims: Sequence[str], told: Sequence[Sequence[Related]], evidence: bool) -> Outcome:
        if not claims:
            said = "makes no claim"
            return Abstain(said) if self.no_claims is None else Score(self.no_claims, said)
        if not evidence:
            return Abstain(f"column {self.evidence!r} holds no evidence")
        if none := missing([its for row in told for its in row]):
            return none
        related = [[its for its in row if isinstance(its, Relation)] for row in told]
        findings = [finding(row, self.entails) for row in related]
        findings += ["unverifiable"] * (len(claims) - len(findings))
        value = claim_score(findings, *self.costs, gamma=self.gamma)
        wrong = [f"{its}: {claim[:80]!r}" for claim, its in zip(claims, findings, strict=True) if its != "supported"]
        reason = f"{findings.count('supported')} of {len(claims)} claims supported"
        return Score(value, "; ".join([reason, *wrong[:2]]), sum(its.cost for row in told for its in row))


def claims_of(answer: str, prompt: str = "") -> list[str]:
    """The sentences of an answer that claim something of their own, each once."""
    given = {normalised(sentence) for sentence in sentences(prompt)}
    return distinct(
        sentence
        for sentence in dict.fromkeys(sentences(answer))
        if normalised(sentence) not in given and not is_question(sentence) and not admits(sentence)
    )


def distinct(claims: Iterable[str]) -> list[str]:
    """Claims by their normalised spelling, each once, none empty."""
    first: dict[str, str] = {}
    for claim in claims:
        first.setdefault(normalised(claim), claim)
    return [claim for spelling, claim in first.items() if spelling]


def finding(relations: Sequence[Relation], entails: float = 0.5) -> Finding:
    """What the passages say of a claim; where one supports and another refutes it as much, nothing is settled."""
    support = max(its.entailment for its in relations)
    contradiction = max(its.contradiction for its in relations)
    if support >= entails and support > contradiction:
        return "supported"
    return "refuted" if contradiction >= entails and contradiction > support else "unverifiable"


def claim_score(findings: Sequence[Finding], refuted: float = 0.0, unverifiable: float = 0.0, gamma: int = 0) -> float:
    """The formula of `Factuality` over the findings of at least one claim, from -max(refuted, unverifiable) to 1."""
    count = len(findings)
    supported, against, unknown = (findings.count(its) / count for its in ("supported", "refuted", "unverifiable"))
    return short_penalty(count, gamma) * supported - refuted * against - unverifiable * unknown


def short_penalty(claims: int, gamma: int) -> float:
    """exp(1 - gamma / claims) up to gamma claims, above 1 (FActScore's length penalty)."""
    return math.exp(1 - gamma / claims) if claims <= gamma else 1.0
