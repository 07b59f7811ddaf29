from __future__ import annotations

import numpy as np
import pytest
import torch

import rlaif_core as rl
from rlaif_core.testing import make_rollouts
from rlaif_core.testing.compare import difference, leaves, same, snapshot, untouched


def test_leaves_are_named_by_the_path_that_leads_to_them() -> None:
    assert dict(leaves({"a": [1, {"b": "text"}]}, "it")) == {"it['a'][0]": 1, "it['a'][1]['b']": "text"}
    assert "rollouts.prompts[0].meta['answer']" in dict(leaves(make_rollouts(meta={"answer": 4}), "rollouts"))


def test_sameness_is_of_bits_and_types() -> None:
    assert same(torch.tensor([1.0, float("nan")]), torch.tensor([1.0, float("nan")]))
    assert not same(torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64))
    assert not same(torch.tensor([1.0]), torch.tensor([1.0, 1.0]))
    assert not same(1, 1.0)
    assert same(float("nan"), float("nan"))


def test_a_difference_is_found_wherever_it_is() -> None:
    assert difference({"a": 1, "b": 2}, {"a": 1, "b": 3}) == "b"
    assert difference({"a": 1}, {"a": 1, "b": 3}) == "b"
    assert difference({"a": 1}, {"a": 1}) is None


def test_a_snapshot_is_out_of_reach_of_later_writes() -> None:
    tensor = torch.zeros(2)
    before = snapshot([tensor], "it")
    tensor.data[0] = 1  # the version counter does not see this one
    assert difference(before, snapshot([tensor], "it")) == "it[0]"


def test_untouched_names_what_was_written_to() -> None:
    rollouts = make_rollouts(meta={"words": ["red"], "array": np.zeros(2), "nan": float("nan")})
    with untouched("part", rollouts=rollouts):
        pass
    with (
        pytest.raises(rl.PluginError, match=r"part changed its input rollouts\.logp in place; copy it first"),
        untouched("part", rollouts=rollouts),
    ):
        rollouts.logp.mul_(2)
    with (
        pytest.raises(rl.PluginError, match=r"rollouts\.prompts\[0\]\.meta\['words'\]"),
        untouched("part", rollouts=rollouts),
    ):
        rollouts.prompts[0].meta["words"].append("blue")
