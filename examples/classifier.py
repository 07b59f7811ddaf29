"""Train a small toxicity classifier: a sequence-classification head on a language model's trunk.

    python examples/classifier.py --model tiny-chat --data safety_hate_offensive.jsonl --out runs/toxicity

It learns from every other row and is measured on some of the rest (`--half 1` swaps the halves, for a second opinion).
Writes an ordinary transformers folder with the labels "fine" and "toxic".
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, normalizers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

LONGEST = 40  # tokens of a text that are read in training
WARMUP = 5  # steps
NOISE = r"https?://\S+|@\w+|&#?\w+;|\bRT\b"  # links, names, entities, retweets


def rows_of(path: Path, half: int) -> list[tuple[str, int]]:
    """(text, 1 if it is toxic) of every other row of the hate-speech-and-offensive-language data set."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["tweet"], int(row["class"] != "2")) for row in rows[half::2]]


def words_only(tokenizer: Any) -> Any:
    """Let the tokenizer read lower-case words and nothing else.

    Toxic and harmless tweets also differ in links, case and punctuation, which says nothing about the answers of a
    chat model. The rule is saved with the tokenizer, so that whoever scores with the classifier keeps to it.
    """
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace("\u2019", "'"),
            normalizers.Replace(Regex(NOISE), " "),
            normalizers.Replace(Regex("[^A-Za-z']+"), " "),
            normalizers.Lowercase(),
            normalizers.Strip(),
        ]
    )
    tokenizer.padding_side = "right"
    return tokenizer


def train(
    model: str, rows: list[tuple[str, int]], out: Path, *, steps: int = 60, batch: int = 32, seed: int = 0
) -> None:
    """Fine-tune a new head, and the upper half of the trunk, with AdamW: `steps` mini-batches of `batch` texts.

    Both labels are drawn equally often, although most rows of such data are toxic.
    """
    torch.manual_seed(seed)
    draw = random.Random(seed)
    tokenizer = words_only(AutoTokenizer.from_pretrained(model))
    labels = {"fine": 0, "toxic": 1}
    network: Any = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=2, id2label={number: name for name, number in labels.items()}, label2id=labels,
        dtype=torch.float32,
    )  # fmt: skip
    adam = torch.optim.AdamW(_parts(network), weight_decay=0.01)
    factor = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: min((step + 1) / WARMUP, 1) * (1 - step / steps))
    readable = _readable(rows, tokenizer)
    texts = {label: [text for text, its in readable if its == label] for label in (0, 1)}
    targets = torch.tensor([0, 1]).repeat_interleave(batch // 2)
    network.train()
    for _ in range(steps):
        chosen = [draw.choice(texts[label]) for label in targets.tolist()]
        inputs = tokenizer(chosen, return_tensors="pt", padding=True, truncation=True, max_length=LONGEST)
        adam.zero_grad()
        network(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, labels=targets).loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        factor.step()
    network.eval().save_pretrained(out)
    tokenizer.save_pretrained(out)


def _parts(network: Any) -> list[dict[str, Any]]:
    """The new head learns faster than the upper half of the trunk; the lower half stays as it is, which costs less."""
    layers = network.base_model.layers
    for module in (network.get_input_embeddings(), *layers[: len(layers) // 2]):
        module.requires_grad_(False)
    trunk = [parameter for parameter in network.base_model.parameters() if parameter.requires_grad]
    return [{"params": trunk, "lr": 6e-4}, {"params": network.score.parameters(), "lr": 3e-3}]


def _readable(rows: list[tuple[str, int]], tokenizer: Any) -> list[tuple[str, int]]:
    """The rows of which the tokenizer reads anything at all."""
    return [row for row in rows if tokenizer(row[0]).input_ids]


@torch.no_grad()
def auc(folder: Path, rows: list[tuple[str, int]]) -> float:
    """How likely the classifier in `folder` finds a toxic text of `rows` more toxic than a harmless one."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network: Any = AutoModelForSequenceClassification.from_pretrained(folder)
    rows = _readable(rows, tokenizer)
    inputs = tokenizer([text for text, _ in rows], return_tensors="pt", padding=True, truncation=True)
    logits = network(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask).logits
    odds, toxic = logits[:, 1] - logits[:, 0], torch.tensor([bool(label) for _, label in rows])
    return float((odds[toxic][:, None] > odds[~toxic]).float().mean())


def main() -> None:
    """Read the command line, train, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or hub id of a causal language model")
    parser.add_argument("--data", type=Path, required=True, help="JSON lines with the columns 'tweet' and 'class'")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", type=int, choices=(0, 1), default=0)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = rows_of(arguments.data, arguments.half)
    train(arguments.model, rows, arguments.out, steps=arguments.steps, seed=arguments.seed)
    unseen = auc(arguments.out, rows_of(arguments.data, 1 - arguments.half)[:400])
    print(f"{arguments.out}: AUC {unseen:.3f} on rows that it did not learn from")  # noqa: T201


if __name__ == "__main__":
    main()
