"""Training a transformer as a classifier or a reward model, until the rows kept for validation say stop.

The weights that come out are those of the best epoch, and what they say is calibrated: the temperature that fits the
validation rows best is divided into the head. The folder is an ordinary one of transformers.
"""

from __future__ import annotations

import contextlib
import copy
import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlaif_core import TrainingError
from rlaif_core.policy import device_of, quiet
from rlaif_rewards.fit.config import FitConfig
from rlaif_rewards.fit.data import Labelled, Preferences
from rlaif_rewards.fit.estimate import shares
from rlaif_rewards.fit.losses import (
    centring,
    cross_entropy,
    flips,
    margin,
    outcomes,
    plackett_luce,
    preference,
    swayed,
    unsure,
)
from rlaif_rewards.fit.newborn import begin
from rlaif_rewards.fit.odin import entangled, lengths, overlap
from rlaif_rewards.fit.regress import PRIOR, TRUSTING, temperature
from rlaif_rewards.fit.split import split
from rlaif_rewards.reading import Encoded, Reader, Shown, batched, positions_of, spare_padding

Examples = Labelled | Preferences
Array = NDArray[np.float64]


class Trainee:
    """A model in training: texts in, logits out; and what is learnt beside its weights (ties, annotators)."""

    def __init__(self, config: FitConfig, examples: Examples, member: int = 0) -> None:
        self.member = member
        self.config, self.table = config, config.transformer
        self.facts: dict[str, Any] = {}  # what training found out, for the report
        rewards = ("reward", "length") if config.fit.odin else ("reward",)
        labels = examples.labels if isinstance(examples, Labelled) else rewards
        texts = [text for row in range(len(examples)) for text in examples.texts(row)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.fit.seed + (member if config.fit.start == "several" else 0))
            self.model, self.tokeniser = begin(self.table, labels, ["\n".join(text).strip() for text in texts])
        self.model = self.model.to(device_of(config.fit.device))
        self.reader = Reader(
            self.tokeniser,
            self.table.model or "the new model",
            config.framing,
            append_eos=self.table.append_eos,
            max_length=self.table.max_length,
            positions=positions_of(self.model),
        )
        people = len(examples.people) if isinstance(examples, Preferences) else 0
        self.tie = torch.nn.Parameter(torch.tensor(-0.5))
        self.trust = torch.nn.Parameter(torch.full((people,), TRUSTING))
        self._noise = flips(len(labels), config.fit.noise).float() if config.fit.noise else None
        self._shares = torch.ones(len(labels))  # how much a row of each label counts
        if config.fit.balanced and isinstance(examples, Labelled):
            self._shares = torch.from_numpy(shares(examples.targets)).float()

    def logits(self, texts: Sequence[Encoded]) -> Tensor:
        """[B, labels] f32."""
        padding = spare_padding(self.model, self.tokeniser, {text.tokens[-1] for text in texts})
        logits: Tensor = self.model(**batched(texts, padding, self.model)).logits
        return logits.float()

    def encode(self, shown: Sequence[Shown]) -> list[Encoded]:
        """The texts as they are read."""
        return [self.reader.encode(each) for each in shown]

    def losses(self, logits: Tensor, examples: Examples, *, learning: bool = True) -> Tensor:
        """[B] of logits [B, L], or of rewards [2B, heads], the chosen ones first, whose heads are added up; else as
        calibration has them: without what regularises, and with a doubt."""
        true = torch.from_numpy(examples.targets).float().to(logits.device)
        true = true if learning else unsure(true, pairs=isinstance(examples, Preferences))
        if isinstance(examples, Labelled):
            noise = self._noise.to(logits.device) if self._noise is not None else None
            return (true @ self._shares.to(logits.device)) * cross_entropy(logits, true, noise)
        first, second = logits.sum(1).chunk(2)
        leads = torch.from_numpy(examples.margins).float().to(logits.device)
        gaps = margin(first - second, true, leads) if learning else first - second
        ties = self.config.fit.ties
        strength = torch.nn.functional.softplus(self.tie) if ties == "rao_kupper" else self.tie
        logp = outcomes(gaps, ties=ties, strength=strength.to(logits.device))
        if len(self.trust):
            logp = swayed(logp, self.trust.sigmoid().to(logits.device)[torch.from_numpy(examples.annotators)])
        found = preference(logp, true)
        if not learning:
            return found
        if self.config.fit.ranking == "plackett_luce":
            found = plackett_luce(gaps, torch.from_numpy(examples.stages).to(gaps.device))
        return found + self.table.centring * centring(first, second) + self._apart(logits, examples)

    def _apart(self, heads: Tensor, examples: Preferences) -> Tensor | float:
        """What keeps quality from length, a scalar; 0 where there is one head."""
        if not self.config.fit.odin:
            return 0.0
        long = torch.from_numpy(lengths((*examples.chosen, *examples.rejected))).float().to(heads.device)
        both = self.table.orthogonality * overlap(self.head.weight)
        return self.table.decorrelation * entangled(heads, long) + both

    @property
    def head(self) -> torch.nn.Linear:
        """What turns states into logits."""
        linear = [module for module in self.model.modules() if isinstance(module, torch.nn.Linear)]
        return next(module for module in reversed(linear) if module.out_features == self.model.config.num_labels)

    def heads(self, shown: Sequence[Shown]) -> Array:
        """[N, heads]: what each head of a reward model says."""
        return self.said(self.encode(shown)).double().numpy()

    def parameters(self) -> list[dict[str, Any]]:
        """Groups for AdamW; the few numbers beside the model move faster, and nothing pulls them to 0."""
        weights = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        beside = [self.tie, self.trust]
        return [
            {"params": weights, "lr": self.table.lr, "weight_decay": self.table.weight_decay},
            {"params": beside, "lr": max(self.table.lr, 0.05), "weight_decay": 0.0},
        ]

    @torch.no_grad()
    def said(self, texts: Sequence[Encoded]) -> Tensor:
        """[B, labels] f32 of any number of texts, without dropout."""
        self.model.eval()
        found = [self.logits(texts[at : at + 64]).cpu() for at in range(0, len(texts), 64)]
        return torch.cat(found)

    def cool(self, scale: float) -> None:
        """Divide what the head says by `scale`."""
        with torch.no_grad():
            for parameter in self.head.parameters():
                parameter.div_(scale)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """For as long as it is entered, only the first head is there."""
        head, names = self.head, dict(self.model.config.id2label)
        whole = [parameter.data for parameter in head.parameters()]
        for parameter in head.parameters():
            parameter.data = parameter.data[:1].clone()
        self._named(head, {0: names[0]})
        try:
            yield
        finally:
            for parameter, values in zip(head.parameters(), whole, strict=True):
                parameter.data = values
            self._named(head, names)

    def _named(self, head: torch.nn.Linear, names: dict[int, str]) -> None:
        head.out_features = self.model.num_labels = len(names)
        self.model.config.id2label, self.model.config.label2id = names, {name: at for at, name in names.items()}

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the transformers folder; what belongs into `fit.json` is returned."""
        self.model.config.pad_token_id = self.tokeniser.pad_token_id
        with quiet(), self._alone() if self.config.fit.odin else contextlib.nullcontext():
            self.model.eval().save_pretrained(folder)
            self.tokeniser.save_pretrained(folder)
            labels = list(self.model.config.id2label.values())
        limit = self.reader.limit + self.table.append_eos
        return {
            "labels": labels,
            "max_length": limit,
            "append_eos": self.table.append_eos,
        }


def train(config: FitConfig, examples: Examples, tell: Callable[[str], None], *, member: int = 0) -> Trainee:
    """Train on the examples but for those of validation; `tell` hears of each epoch. Another `member` is trained by
    another order and dropout."""
    table, seed = config.transformer, config.fit.seed
    parts = split(examples, table.validation, seed + 1)
    learnt, checked = examples.take(parts.learnt), examples.take(parts.held)
    with torch.random.fork_rng(devices=[]):
        trainee = Trainee(config, examples, member)
        torch.manual_seed(seed + member)
        curve = _epochs(trainee, learnt, checked, tell)
    said = trainee.said(trainee.encode(_all(checked)))

    @torch.no_grad()
    def loss(scale: float) -> float:
        # Of two heads the first is what will be asked.
        asked = said[:, :1] if isinstance(checked, Preferences) else said
        return float(trainee.losses(asked / scale, checked, learning=False).mean())

    scale = temperature(loss)
    trainee.cool(scale)
    trainee.facts = facts = {"temperature": scale, "validation_loss": curve, "validation_rows": len(checked)}
    if config.fit.ties != "none":
        facts["tie_strength"] = trainee.tie.item()
    if isinstance(examples, Preferences) and examples.people:
        facts["reliability"] = dict(zip(examples.people, trainee.trust.sigmoid().tolist(), strict=True))
    return trainee


def _epochs(trainee: Trainee, learnt: Examples, checked: Examples, tell: Callable[[str], None]) -> list[float]:
    """The validation losses, the first before any step; the model is left as it was at the lowest."""
    table = trainee.table
    texts, asked = trainee.encode(_all(learnt)), trainee.encode(_all(checked))
    adam = torch.optim.AdamW(trainee.parameters())
    steps = table.epochs * math.ceil(len(learnt) / table.batch)
    warmup = max(int(table.warmup * steps), 1)
    pace = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: min((step + 1) / warmup, 1) * max(1 - step / steps, 0))
    units, count = _units(learnt), len(learnt)
    draw = random.Random(trainee.config.fit.seed + trainee.member)

    def validation() -> float:
        with torch.no_grad():
            return float(trainee.losses(trainee.said(asked), checked, learning=False).mean())

    curve, best, idle = [validation()], _weights(trainee), 0
    for epoch in range(1, table.epochs + 1):
        trainee.model.train()
        for rows in _batches(units, table.batch, draw):
            its = [texts[row + shift] for shift in range(0, len(texts), count) for row in rows]
            loss = trainee.losses(trainee.logits(its), learnt.take(rows)).mean() + _trusting(trainee, count)
            if not loss.isfinite():
                raise TrainingError(f"the loss became {loss.item()} in epoch {epoch}; lower [transformer] lr")
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_([p for group in adam.param_groups for p in group["params"]], 1.0)
            adam.step()
            pace.step()
        curve.append(validation())
        tell(f"epoch {epoch}: validation loss {curve[-1]:.4f}")
        if curve[-1] <= min(curve):
            best, idle = _weights(trainee), 0
        else:
            idle += 1
            if idle >= table.patience:
                break
    model, tie, trust = best
    trainee.model.load_state_dict(model)
    with torch.no_grad():
        trainee.tie.copy_(tie)
        trainee.trust.copy_(trust)
    return curve


def _units(examples: Examples) -> list[list[int]]:
    """Rows that are told together: what is one stage of a list, else each by itself."""
    units: dict[int, list[int]] = {}
    for row, stage in enumerate(
        examples.stages.tolist() if isinstance(examples, Preferences) else range(len(examples))
    ):
        units.setdefault(stage, []).append(row)
    return list(units.values())


def _batches(units: Sequence[list[int]], size: int, draw: random.Random) -> Iterator[list[int]]:
    """All units in another order, whole, in batches of as many rows or a few more."""
    rows: list[int] = []
    for unit in draw.sample(units, len(units)):
        rows += unit
        if len(rows) >= size:
            yield rows
            rows = []
    if rows:
        yield rows


def _trusting(trainee: Trainee, count: int) -> Tensor:
    """The prior on annotators, a row's share of it, as in `regress.prefer`."""
    right = torch.sigmoid(torch.tensor(TRUSTING))
    told = right * trainee.trust.sigmoid().log() + (1 - right) * (-trainee.trust).sigmoid().log()
    return -PRIOR * told.sum() / count


def _weights(trainee: Trainee) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    return copy.deepcopy(trainee.model.state_dict()), trainee.tie.detach().clone(), trainee.trust.detach().clone()


def _all(examples: Examples) -> tuple[Shown, ...]:
    return examples.shown if isinstance(examples, Labelled) else (*examples.chosen, *examples.rejected)
