"""The policy: a Llama of 1.3 M parameters, pre-trained once on the messy corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from rlaif_lumen.recipe.corpus import make_corpus, pack
from rlaif_lumen.recipe.train import FILLED, Descent, batches, initialise, separate, word_loss
from rlaif_lumen.tokeniser import save_tokeniser, vocabulary
from rlaif_lumen.world import World

ROWS, WIDTH = 6, 192
PEAK_LR = 2e-3


def new_policy(seed: int) -> LlamaForCausalLM:
    """The untrained network."""
    ids = vocabulary()
    config = LlamaConfig(
        vocab_size=len(ids),
        hidden_size=160,
        intermediate_size=416,
        num_hidden_layers=4,
        num_attention_heads=5,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        initializer_range=160**-0.5,
        pad_token_id=ids["<pad>"],
        bos_token_id=ids["<bos>"],
        eos_token_id=ids["<eot>"],
    )
    network = LlamaForCausalLM(config)
    initialise(network, seed)
    return network


def train_policy(world: World, *, steps: int, seed: int, report: Callable[[str], None]) -> LlamaForCausalLM:
    """One pass over a corpus of `steps` batches: 900 of them are about a million tokens."""
    network = new_policy(seed)
    corpus = make_corpus(world, seed=seed, tokens=round(steps * ROWS * WIDTH * FILLED))
    supply = list(batches(pack(corpus, WIDTH), ROWS))
    descend = Descent(network, PEAK_LR, len(supply))
    for step, (tokens, numbers) in enumerate(supply, 1):
        mask, positions = separate(numbers)
        logits = network(input_ids=tokens, attention_mask=mask, position_ids=positions).logits
        loss = word_loss(logits, tokens, numbers)
        descend(loss)
        if step % 100 == 0 or step == len(supply):
            report(f"policy: step {step} of {len(supply)}, loss {loss.item():.3f}")
    return network


def save_policy(network: LlamaForCausalLM, folder: Path) -> None:
    """Write an ordinary transformers folder in bf16, tokeniser included."""
    ids = vocabulary()
    network.generation_config = GenerationConfig(
        pad_token_id=ids["<pad>"], bos_token_id=ids["<bos>"], eos_token_id=[ids["<eot>"], ids["<eos>"]]
    )
    network.to(torch.bfloat16).save_pretrained(folder)
    save_tokeniser(folder)
