"""What rewards are offered. Every part is named as text, so that listing them imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rlaif_core.offers import Offer, hookimpl, load_attribute

if TYPE_CHECKING:
    from typer import Typer

HERE = "rlaif_rewards"


@hookimpl
def rlaif_rewards() -> Iterator[Offer[Any]]:
    yield Offer("calibration", f"{HERE}.calibration:Calibration", "correctness and a proper score of stated confidence")
    yield Offer("clarification", f"{HERE}.clarification:Clarification", "asking back where the reply is worth it")
    yield Offer("classifier", f"{HERE}.classifier:Classifier", "a label's score from any trained classifier")
    yield Offer("consistency", f"{HERE}.consistency:Consistency", "agreement across samples, turns or sentences")
    yield Offer("factuality", f"{HERE}.factuality:Factuality", "claims that the dataset's evidence supports")
    yield Offer("format", f"{HERE}.format:Format", "1 where the answer keeps to tags, JSON, bullets or a box")
    yield Offer("function", f"{HERE}.function:Function", "a Python function, by file or module")
    yield Offer("grammar", f"{HERE}.grammar:Grammar", "penalty for errors of spelling and grammar")
    yield Offer("ignorance", f"{HERE}.ignorance:Ignorance", "right above not knowing above wrong")
    yield Offer("judge", f"{HERE}.judge:JudgeReward", "what a judge says of each answer, alone or ranked")
    yield Offer("keywords", f"{HERE}.keywords:Keywords", "words that should, and words that should not, occur")
    yield Offer("length", f"{HERE}.length:Length", "penalty for being too short or too long")
    yield Offer("metric", f"{HERE}.metric:Metric", "a metric against a reference, as those of evaluate")
    yield Offer(
        "paraphrase_agreement",
        f"{HERE}.selfsupervised.agreement:ParaphraseAgreement",
        "the same answer to a question that is put otherwise",
    )
    yield Offer("preference", f"{HERE}.preference:PreferenceReward", "how often a judge prefers an answer to others")
    yield Offer("readability", f"{HERE}.readability:Readability", "penalty for a text that is too hard or too easy")
    yield Offer("regex", f"{HERE}.regex:Regex", "how often a pattern occurs, or whether it fits the whole")
    yield Offer(
        "repetition",
        f"{HERE}.repetition:Repetition",
        "penalty for n-grams shared with itself, the prompt or its siblings",
    )
    yield Offer("restoration", f"{HERE}.selfsupervised.restoration:Restoration", "what was left out of a text")
    yield Offer("reward_model", f"{HERE}.reward_model:RewardModel", "a trained reward model's number")
    yield Offer("semantic_entropy", f"{HERE}.semantic_entropy:SemanticEntropy", "how little the meaning varies")
    yield Offer("sincerity", f"{HERE}.sincerity:Sincerity", "saying what is believed, whether or not it is true")
    yield Offer("toxicity", f"{HERE}.toxicity:Toxicity", "the probability that an answer is toxic, as a cost")


@hookimpl
def rlaif_commands(app: Typer) -> None:
    app.command()(load_attribute(f"{HERE}.fit.command:fit"))


@hookimpl
def rlaif_observers() -> Iterator[Offer[Any]]:
    yield Offer("expected_maximum", f"{HERE}.expected_maximum:ExpectedMaximum", "the worst of each group's scores")
