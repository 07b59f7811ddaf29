"""What both networks' training shares: initialisation, schedule, packed rows that cannot see their neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

FILLED = 0.86
"""Share of a packed row that texts fill."""
EMBEDDINGS = ("embed_tokens", "embed_in")
RESIDUAL_WRITERS = ("o_proj", "down_proj", "attention.dense", "dense_4h_to_h")


def initialise(module: nn.Module, seed: int) -> None:
    """Normal weights of standard deviation fan_in^-1/2; three times that for embeddings, half for what writes into the
    residual stream.

    With the customary 0.02 a network of this size never learns to copy the persona; with fan-in alone the words drown
    in what the first layer adds to them, and copying a name comes too late for 900 steps.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() == 2:
                scale = 3.0 if any(part in name for part in EMBEDDINGS) else 1.0
                scale = 0.5 if any(part in name for part in RESIDUAL_WRITERS) else scale
                parameter.normal_(0, scale * parameter.shape[1] ** -0.5, generator=generator)


def schedule(step: int, steps: int, *, warm_up: int = 100, decay: float = 0.6) -> float:
    """Learning-rate factor at `step`: linear warm-up, flat, then linear to 0 over the last `decay` of the steps."""
    warm = min(1.0, (step + 1) / min(warm_up, math.ceil(steps / 4)))
    return warm * min(1.0, (steps - step) / (decay * steps))


def separate(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """From text numbers [B,T] (0: padding): additive attention mask [B,1,T,T] f32, causal and within one text, and
    positions [B,T] that restart with each text."""
    width = numbers.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    visible = (numbers[:, :, None] == numbers[:, None, :]) & causal
    mask = torch.zeros(visible.shape).masked_fill_(~visible, torch.finfo(torch.float32).min)
    return mask[:, None], visible.sum(-1) - 1


def next_tokens(tokens: Tensor, numbers: Tensor) -> Tensor:
    """Targets [B,T] for each position: the next token of the same text, or -100."""
    targets = torch.full_like(tokens, -100)
    same = (numbers[:, 1:] == numbers[:, :-1]) & (numbers[:, 1:] > 0)
    targets[:, :-1] = torch.where(same, tokens[:, 1:], -100)
    return targets


def batches(rows: Iterator[tuple[Tensor, Tensor]], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Stack packed rows into batches of `size`; what is left over is dropped."""
    while True:
        chosen = [row for _, row in zip(range(size), rows, strict=False)]
        if len(chosen) < size:
            return
        tokens, numbers = zip(*chosen, strict=True)
        yield torch.stack(tokens), torch.stack(numbers)


class Descent:
    """AdamW with weight decay on matrices only, a schedule, and clipping.

    Parameters whose name starts with `fast` learn `factor` times as fast.
    """

    def __init__(
        self, module: nn.Module, lr: float, steps: int, *, fast: tuple[str, ...] = (), factor: float = 1
    ) -> None:
        self.module = module
        self.steps = steps
        self.step = 0
        groups = [
            {"params": [parameter], "peak": lr * (factor if name.startswith(fast) else 1), "weight_decay": decay}
            for name, parameter in module.named_parameters()
            for decay in (0.05 if parameter.dim() == 2 else 0.0,)
        ]
        self._adam = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))

    def __call__(self, loss: Tensor) -> None:
        """One step down from `loss`."""
        for group in self._adam.param_groups:
            group["lr"] = group["peak"] * schedule(self.step, self.steps)
        self._adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self._adam.step()
        self.step += 1


def word_loss(logits: Tensor, tokens: Tensor, numbers: Tensor) -> Tensor:
    """Mean cross-entropy of the next word within each text: logits [B,T,V], tokens and text numbers [B,T]."""
    targets = next_tokens(tokens, numbers)
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
