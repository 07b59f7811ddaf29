from __future__ import annotations

from collections import Counter
from hashlib import sha256
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from rlaif_lumen.parse import read_reply
from rlaif_lumen.recipe.__main__ import Budget, make
from rlaif_lumen.recipe.corpus import make_corpus, pack
from rlaif_lumen.recipe.judge import textbook
from rlaif_lumen.recipe.labels import COVERAGE, covered_keys
from rlaif_lumen.recipe.policy import new_policy
from rlaif_lumen.recipe.train import next_tokens, schedule, separate
from rlaif_lumen.tokeniser import vocabulary
from rlaif_lumen.world import make_world

NAMED = {number: word for word, number in vocabulary().items()}


def words(ids: list[int]) -> str:
    return " ".join(NAMED[number] for number in ids)


def test_the_same_seed_makes_the_same_bits(tmp_path: Path) -> None:
    sums = []
    for name in ("one", "two"):
        make(tmp_path / name, seed=3, budget=Budget.of(0))
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        sums.append({path.relative_to(tmp_path / name): sha256(path.read_bytes()).hexdigest() for path in files})
    assert sums[0] == sums[1]
    assert {path.name for path in sums[0]} >= {"model.safetensors", "config.json", "report.json", "tokenizer.json"}


def test_a_singleton_is_stated_once_and_an_unseen_truth_never() -> None:
    world = make_world()
    told: Counter[tuple[str, str]] = Counter()
    for text in make_corpus(world, seed=0, tokens=200_000):
        for claim in read_reply(words(text)).claims:
            if world.facts.get((claim.name, claim.attribute)) == claim.value:
                told[claim.name, claim.attribute] += 1
    for key, exposure in world.exposure.items():
        if exposure == "singleton":
            assert told[key] == 1, key
        elif exposure == "unseen":
            assert told[key] == 0, key
    common = [told[key] for key, exposure in world.exposure.items() if exposure == "common"]
    rare = [told[key] for key, exposure in world.exposure.items() if exposure == "rare"]
    assert sum(common) / len(common) > 8 * sum(rare) / len(rare)


def test_the_corpus_never_mentions_names_held_out() -> None:
    world = make_world()
    held_out = {name for split in ("validation", "holdout") for name in world.casts[split].unknown}  # type: ignore[index]
    said = {word for text in make_corpus(world, seed=0, tokens=100_000) for word in words(text).split()}
    assert not said & held_out
    assert said >= set(world.casts["train"].unknown)


def test_the_textbook_tells_the_truth_about_what_is_covered_and_nothing_else() -> None:
    world = make_world()
    known = covered_keys(world, 0)
    assert len(known) == round(COVERAGE * len(world.facts))
    for text in textbook(world, known, seed=0, tokens=20_000):
        for claim in read_reply(words(text)).claims:
            assert (claim.name, claim.attribute) in known
            assert world.facts[claim.name, claim.attribute] == claim.value


def test_packing_keeps_every_text_whole_and_in_order() -> None:
    texts = [[number] * size for number, size in enumerate((3, 4, 2, 7, 1), 1)]
    rows = list(pack(iter([*texts, [9] * 8]), 8))
    assert [row.tolist() for row, _ in rows] == [[1] * 3 + [2] * 4 + [0], [3] * 2 + [0] * 6, [4] * 7 + [5]]
    assert rows[0][1].tolist() == [1] * 3 + [2] * 4 + [0]


def test_texts_in_a_row_cannot_see_each_other() -> None:
    network: LlamaForCausalLM = new_policy(0).eval()
    tokens = torch.tensor([[1, 20, 30, 40, 1, 50, 60, 0]])
    numbers = torch.tensor([[1, 1, 1, 1, 2, 2, 2, 0]])
    mask, positions = separate(numbers)
    with torch.no_grad():
        packed = network(input_ids=tokens, attention_mask=mask, position_ids=positions).logits[0, 4:7]
        alone = network(input_ids=tokens[:, 4:7]).logits[0]
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-4)
    assert next_tokens(tokens, numbers).tolist() == [[20, 30, 40, -100, 50, 60, -100, -100]]


def test_the_learning_rate_rises_stays_and_falls_to_nothing() -> None:
    rates = [schedule(step, 1000) for step in range(1000)]
    assert rates[0] == 0.01
    assert max(rates) == rates[99] == rates[400] == 1
    assert rates[999] < 0.002
    assert all(rate > 0 for rate in rates)
