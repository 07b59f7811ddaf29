"""The judge: first a textbook of the facts that annotators know, then their noisy labels and comparisons."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from random import Random
from statistics import linear_regression

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from transformers import GPTNeoXConfig

from rlaif_lumen.dialogue import random_persona
from rlaif_lumen.grammar import Claim, Utterance
from rlaif_lumen.lexicon import ATTRIBUTES
from rlaif_lumen.reader import OPINIONS, Reader, Transcriber, stack
from rlaif_lumen.recipe.corpus import CLAIMS_PER_DOCUMENT, document, pack
from rlaif_lumen.recipe.labels import Family, Labelled
from rlaif_lumen.recipe.train import Descent, batches, initialise, separate, word_loss
from rlaif_lumen.tokeniser import vocabulary
from rlaif_lumen.world import Key, World

ROWS, WIDTH = 6, 192
TEXTBOOK_LR, LABEL_LR = 2e-3, 1e-3
HEADS_FASTER = 20
"""The heads are new when labels arrive, and a tenth of the loss is theirs to win: they learn this much faster."""
PAIRS = 32
CALIBRATION = 500
"""Families on which the score's units are set."""
REVISION_ROWS = 2
"""Rows of the textbook read again at every label step; without them it is forgotten within a hundred."""

Pair = tuple[list[int], Labelled, list[int], Labelled]
"""Tokens and label of the preferred answer, then of the other."""


def new_reader(seed: int) -> Reader:
    """An untrained reader of 0.6 M parameters."""
    ids = vocabulary()
    config = GPTNeoXConfig(
        vocab_size=len(ids),
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        use_parallel_residual=False,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        bos_token_id=ids["<bos>"],
        eos_token_id=ids["<eot>"],
    )
    reader = Reader(config)
    initialise(reader, seed)
    expect_doubt(reader)
    return reader


@torch.no_grad()
def expect_doubt(reader: Reader) -> None:
    """Begin with what annotators begin with: a surprising word counts against an answer, wherever it stands, and most
    against its being true. From a random start the heads learn the frames of answers first, and many never turn to
    surprise at all; the labels are still free to unlearn it."""
    reader.gate.weight.zero_()
    doubt = reader.heads.weight[:, -1]
    doubt.zero_()
    doubt[0] = -0.5
    doubt[1 + OPINIONS.index("true")] = -2.0


def textbook(world: World, known: frozenset[Key], *, seed: int, tokens: float = math.inf) -> Iterator[list[int]]:
    """Documents and one-question dialogues that tell the truth about what is known, and mention nothing else.

    About `tokens` tokens of them; without a limit it never ends.
    """
    random, ids, keys = Random(f"lumen/textbook/{seed}"), vocabulary(), sorted(known)
    while tokens > 0:
        claims = [Claim(*key, world.facts[key]) for key in random.sample(keys, CLAIMS_PER_DOCUMENT)]
        text = document(claims)
        if random.random() < 0.5:
            claim = claims[0]
            question = Utterance("fact" if claim.attribute in ATTRIBUTES else "relation", claim.name, claim.attribute)
            text = f"<bos> <sys> {random_persona(random).text} <usr> {question.text} <bot> {claim.text} <eot> <eos>"
        yield [ids[word] for word in text.split()]
        tokens -= len(text.split())


def study(reader: Reader, texts: Iterator[list[int]], *, report: Callable[[str], None]) -> None:
    """Read the textbook once, as a language model."""
    supply = list(batches(pack(texts, WIDTH), ROWS))
    descend = Descent(reader, TEXTBOOK_LR, len(supply))
    for step, (tokens, numbers) in enumerate(supply, 1):
        loss = _reading_loss(reader, tokens, numbers)
        descend(loss)
        if step % 100 == 0 or step == len(supply):
            report(f"judge: textbook step {step} of {len(supply)}, loss {loss.item():.3f}")


def _reading_loss(reader: Reader, tokens: Tensor, numbers: Tensor) -> Tensor:
    mask, positions = separate(numbers)
    return word_loss(reader.words(reader.hidden(tokens, attention_mask=mask, position_ids=positions)), tokens, numbers)


def train_judge(
    reader: Reader,
    families: Sequence[Family],
    *,
    revision: Iterator[list[int]],
    steps: int,
    seed: int,
    report: Callable[[str], None],
) -> None:
    """Fit preferences (Bradley-Terry) and opinions (cross-entropy) of families that annotators could label, while
    reading on in the textbook."""
    random, transcribe = Random(f"lumen/pairs/{seed}"), Transcriber()
    pool = [pair for family in families if family.covered for pair in pairs(family, random, transcribe)]
    pages = batches(pack(revision, WIDTH), REVISION_ROWS)
    descend = Descent(reader, LABEL_LR, steps, fast=("heads", "gate"), factor=HEADS_FASTER)
    for step in range(1, steps + 1):
        chosen = [pool[random.randrange(len(pool))] for _ in range(PAIRS)]
        rows = [pair[0] for pair in chosen] + [pair[2] for pair in chosen]
        labels = [pair[1].opinions for pair in chosen] + [pair[3].opinions for pair in chosen]
        judgement = reader(*stack(rows))
        preference = -logsigmoid(judgement.score[:PAIRS] - judgement.score[PAIRS:]).mean()
        opinion = binary_cross_entropy_with_logits(judgement.opinions, torch.tensor(labels).float())
        descend(preference + len(OPINIONS) * opinion + _reading_loss(reader, *next(pages)))
        if step % 100 == 0 or step == steps:
            report(f"judge: label step {step} of {steps}, preference {preference:.3f}, opinions {opinion:.3f}")
    calibrate(reader, [family for family in families if family.covered][:CALIBRATION])


@torch.no_grad()
def calibrate(reader: Reader, families: Sequence[Family]) -> None:
    """Rescale the score to the annotators' own units, by least squares. Preferences alone leave scale and origin open,
    and the surer the judge the larger its scale; a KL weight would mean something else for each judge."""
    transcribe = Transcriber()
    said = [
        (float(score), its.utility)
        for family in families
        for score, its in zip(
            reader(*stack([transcribe(family.messages, its.answer) for its in family.answers])).score,
            family.answers,
            strict=True,
        )
    ]
    slope, intercept = linear_regression(*zip(*said, strict=True))
    reader.heads.weight[0] *= slope
    reader.heads.bias[0] = slope * reader.heads.bias[0] + intercept


def pairs(family: Family, random: Random, transcribe: Transcriber) -> Iterator[Pair]:
    """Comparisons within a family: every edit with what it was made from, every other answer with a random one."""
    answers = family.answers
    rows = [transcribe(family.messages, its.answer) for its in answers]
    for place, its in enumerate(answers):
        other = its.origin if its.origin != place else random.randrange(len(answers))
        if answers[other].answer == its.answer:
            continue
        better, worse = (place, other) if its.utility > answers[other].utility else (other, place)
        yield rows[better], answers[better], rows[worse], answers[worse]


@torch.inference_mode()
def measure(
    reader: Reader, families: Sequence[Family], true_opinions: Callable[..., tuple[bool, ...]]
) -> dict[str, float]:
    """Agreement with the oracle on fresh answers: of preferences over pairs of different gold, and of each opinion.

    The opinion on truth is measured where exactly one claim is made, as half its edits make true.
    """
    transcribe = Transcriber()
    right = {name: [0, 0] for name in ("preference", *OPINIONS)}
    for family in families:
        judgement = reader(*stack([transcribe(family.messages, its.answer) for its in family.answers]))
        scores, opinions = judgement.score.tolist(), (judgement.opinions > 0).tolist()
        for place, its in enumerate(family.answers):
            for other, score in zip(family.answers[:place], scores, strict=False):
                if abs(gap := its.grade.score - other.grade.score) > 0.25:
                    _count(right["preference"], (scores[place] - score) * gap > 0)
            for name, said, truth in zip(OPINIONS, opinions[place], true_opinions(its.grade), strict=True):
                if name != "true" or len(its.grade.reply.claims) == 1:
                    _count(right[name], said == truth)
    return {name: hits / total for name, (hits, total) in right.items() if total}


def _count(tally: list[int], hit: bool) -> None:
    tally[0] += hit
    tally[1] += 1
