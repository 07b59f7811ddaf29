"""What several tests of the built-ins need: rollouts drawn by hand, and classifiers made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from rlaif_core import Feedback, Prompt, Rollouts, Score
from rlaif_core.feedback import Outcome

Draw = Callable[..., Rollouts]
Tell = Callable[..., Feedback]
WORDS = "<s> <pad> </s> <unk> <user> <assistant> yes no red green blue is it maybe".split()


@pytest.fixture(scope="session")
def drawn() -> Draw:
    """drawn("..##", " .#.#"): a row a text, `.` given, `#` chosen by the policy, a blank padding."""

    def draw(*rows: str, group: Sequence[int] | None = None, finish: Sequence[str] | None = None) -> Rollouts:
        width = max(map(len, rows))
        cells = [list(row.ljust(width)) for row in rows]
        mask = torch.tensor([[cell == "#" for cell in row] for row in cells])
        labels = list(group) if group is not None else [0] * len(rows)
        return Rollouts(
            prompts=tuple(Prompt(id=f"p{label}", text="?") for label in labels),
            completions=tuple(f"answer {row}" for row in range(len(rows))),
            tokens=torch.arange(len(rows) * width).reshape(len(rows), width) + 1,
            attend=torch.tensor([[cell != " " for cell in row] for row in cells]),
            mask=mask,
            logp=torch.full(mask.shape, -1.0).where(mask, 0.0),
            group=torch.tensor(labels),
            finish=tuple(finish or ["stop"] * len(rows)),
        )

    return draw


@pytest.fixture(scope="session")
def told() -> Tell:
    """told([1, None, outcome]) or told(a=[..], b=[..], weights=..): feedback; a number is a score."""

    def tell(*one: Sequence[Outcome | float], **options: Sequence[Outcome | float]) -> Feedback:
        names = ("weights", "channels", "token_scores")
        extra = {name: options.pop(name) for name in names if name in options}
        sources = {"it": one[0]} if one else options
        outcomes = {
            name: tuple(Score(said) if isinstance(said, int | float) else said for said in its)
            for name, its in sources.items()
        }
        return Feedback(outcomes=outcomes, **extra)

    return tell


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """classifier("llama", labels=1, pad="eos"): the folder of a random sequence classifier with a word-level tokeniser.

    pad: "own", "eos" (shared with the end of sequence) or "none". framed: the tokeniser puts <s> and </s> around texts.
    head: False saves a language model instead. Weights are large enough for differences to show.
    """
    made: dict[str, str] = {}

    def make(family: str, **options: object) -> str:
        key = repr((family, sorted(options.items())))
        if key not in made:
            made[key] = str(tmp_path_factory.mktemp(family))
            save_classifier(made[key], family, **options)
        return made[key]

    return make


def save_classifier(
    folder: str,
    family: str,
    labels: Sequence[str] = ("bad", "good"),
    pad: str = "own",
    framed: bool = False,
    template: bool = True,
    head: bool = True,
    kind: str | None = None,
    embeddings: int = len(WORDS),
) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    tokeniser = word_tokeniser(pad, framed, template)
    config = small_config(family, embeddings)
    config.num_labels = len(labels)
    config.id2label, config.label2id = dict(enumerate(labels)), {name: i for i, name in enumerate(labels)}
    config.problem_type, config.pad_token_id = kind, tokeniser.pad_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(labels))
        model = (AutoModelForSequenceClassification if head else AutoModelForCausalLM).from_config(config)
    model.save_pretrained(folder)
    tokeniser.save_pretrained(folder)


def word_tokeniser(pad: str, framed: bool, template: bool) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if framed:
        ends = [(word, WORDS.index(word)) for word in ("<s>", "</s>")]
        inner.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B:1 </s>:1", ends)
    tokeniser = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token={"own": "<pad>", "eos": "</s>", "none": None}[pad],
        additional_special_tokens=["<user>", "<assistant>"],
    )
    if template:
        tokeniser.chat_template = "{% for m in messages %}<{{ m.role }}> {{ m.content }} </s> {% endfor %}"
    return tokeniser


def small_config(family: str, embeddings: int) -> Any:
    from transformers import AutoConfig

    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if family == "gpt2":
        shape = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 32}
    limit = {"n_positions": 64} if family == "gpt2" else {"max_position_embeddings": 64}
    if family == "qwen3":
        shape |= {"num_key_value_heads": 2, "head_dim": 8}
    return AutoConfig.for_model(family, vocab_size=embeddings, initializer_range=0.5, **shape, **limit)
