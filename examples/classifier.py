"""Train a small toxicity classifier on the word embeddings of the very model that it will judge.

    python examples/classifier.py --model tiny-chat --data safety_hate_offensive.jsonl --out runs/toxicity

It learns from every other row and is measured on the rest (`--half 1` swaps the halves, for a second opinion). Writes
an ordinary transformers folder with the labels "fine" and "toxic".
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, normalizers
from transformers import AutoModelForCausalLM, AutoTokenizer, ModernBertConfig, ModernBertForSequenceClassification

Row = tuple[str, int]
"""A text, and 1 if it is toxic."""

LABELS = ("fine", "toxic")
LONGEST = 40  # tokens of a text that are read
WARMUP = 10  # steps
NOISE = r"https?://\S+|@\w+|&#?\w+;|\bRT\b"  # links, names, entities, retweets


def rows_of(path: Path, half: int) -> list[Row]:
    """Every other row of the hate-speech-and-offensive-language data set."""
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


def new_classifier(model: str, tokenizer: Any) -> Any:
    """One layer and the mean over all words, on embeddings that stay those of `model`.

    Twelve hundred rows say too little about most words. Embeddings of its own would let the classifier remember the
    rest by heart: as good on other tweets, but on answers of a chat model two such classifiers hardly agree (a
    correlation of 0.1 to 0.3), while two of these do (0.8).
    """
    embeddings = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).get_input_embeddings().weight
    words, width = embeddings.shape
    config = ModernBertConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=1,
        num_attention_heads=4,
        classifier_pooling="mean",
        embedding_dropout=0.5,
        mlp_dropout=0.5,
        classifier_dropout=0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        cls_token_id=tokenizer.bos_token_id,
        sep_token_id=tokenizer.eos_token_id,
        id2label=dict(enumerate(LABELS)),
        label2id={name: number for number, name in enumerate(LABELS)},
    )
    classifier = ModernBertForSequenceClassification(config)
    classifier.get_input_embeddings().weight = torch.nn.Parameter(embeddings.detach(), requires_grad=False)
    return classifier


def train(
    model: str, rows: list[Row], out: Path, *, steps: int = 150, batch: int = 32, lr: float = 3e-4, seed: int = 0
) -> None:
    """Fit a new classifier with AdamW, `steps` mini-batches of `batch` texts, and write it to `out`.

    Both labels are drawn equally often, although most rows of such data are toxic.
    """
    torch.manual_seed(seed)
    draw = random.Random(seed)
    tokenizer = words_only(AutoTokenizer.from_pretrained(model))
    classifier = new_classifier(model, tokenizer).train()
    learning = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    adam = torch.optim.AdamW(learning, lr=lr, weight_decay=1.0)
    factor = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: min((step + 1) / WARMUP, 1) * (1 - step / steps))
    readable = _readable(rows, tokenizer)
    texts = {label: [text for text, its in readable if its == label] for label in (0, 1)}
    targets = torch.tensor([0, 1]).repeat_interleave(batch // 2)
    for _ in range(steps):
        chosen = [draw.choice(texts[label]) for label in targets.tolist()]
        adam.zero_grad()
        classifier(**_read(chosen, tokenizer), labels=targets).loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        adam.step()
        factor.step()
    classifier.eval().save_pretrained(out)
    tokenizer.save_pretrained(out)


def _readable(rows: list[Row], tokenizer: Any) -> list[Row]:
    """The rows of which the tokenizer reads anything at all."""
    return [row for row in rows if tokenizer(row[0]).input_ids]


def _read(texts: list[str], tokenizer: Any) -> dict[str, Any]:
    read = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=LONGEST)
    return {"input_ids": read.input_ids, "attention_mask": read.attention_mask}


@torch.no_grad()
def auc(folder: Path, rows: list[Row]) -> float:
    """How likely the classifier in `folder` finds a toxic text of `rows` more toxic than a harmless one."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    classifier: Any = ModernBertForSequenceClassification.from_pretrained(folder).eval()
    rows = _readable(rows, tokenizer)
    logits = classifier(**_read([text for text, _ in rows], tokenizer)).logits
    odds, toxic = logits[:, 1] - logits[:, 0], torch.tensor([bool(label) for _, label in rows])
    return float((odds[toxic][:, None] > odds[~toxic]).float().mean())


def main() -> None:
    """Read the command line, train, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or hub id of a causal language model")
    parser.add_argument("--data", type=Path, required=True, help="JSON lines with the columns 'tweet' and 'class'")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", type=int, choices=(0, 1), default=0)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = rows_of(arguments.data, arguments.half)
    train(arguments.model, rows, arguments.out, steps=arguments.steps, seed=arguments.seed)
    unseen = auc(arguments.out, rows_of(arguments.data, 1 - arguments.half))
    print(f"{arguments.out}: AUC {unseen:.3f} on rows that it did not learn from")  # noqa: T201


if __name__ == "__main__":
    main()
