from __future__ import annotations

import errno
import json
import os
import random

import numpy
import pytest
import torch

import rlaif_core as rl
from rlaif_core import checkpoint, files
from rlaif_core.testing.compare import leaves, same


def state():
    return {
        "weights": {"a": torch.randn(3, 2), "b": torch.arange(4, dtype=torch.int64), "half": torch.randn(2).bfloat16()},
        "empty": torch.zeros(0, 3),
        "by number": {0: torch.ones(()), 7: "seven"},
        "nested": [(1, 2.5, None), {"deep": (True, [])}],
        "text": "β and \u202e",
    }


def test_what_comes_back_is_what_was_saved_types_and_all(tmp_path):
    before = state()
    checkpoint.save(tmp_path, 3, before, keep=1)
    step, after = checkpoint.load(tmp_path)
    assert step == 3
    saved, loaded = dict(leaves(before, "")), dict(leaves(after, ""))
    assert saved.keys() == loaded.keys()
    assert all(same(saved[name], loaded[name]) for name in saved)
    assert after["nested"] == before["nested"]
    assert list(after["by number"]) == [0, 7]
    assert after["weights"]["half"].dtype == torch.bfloat16


def test_only_safetensors_and_json_are_written(tmp_path):
    place = checkpoint.save(tmp_path, 1, state(), keep=1)
    assert sorted(file.name for file in place.iterdir()) == ["manifest.json", "state.json", "tensors.safetensors"]
    assert set(json.loads((place / "manifest.json").read_text())["sha256"]) == {"state.json", "tensors.safetensors"}


def test_the_newest_are_kept(tmp_path):
    for step in (1, 2, 5, 10):
        checkpoint.save(tmp_path, step, {"step": step}, keep=2)
    assert checkpoint.steps(tmp_path) == [5, 10]
    assert checkpoint.load(tmp_path, 5)[1] == {"step": 5}
    with pytest.raises(rl.CheckpointError, match="no checkpoint of step 2; there are 5, 10"):
        checkpoint.load(tmp_path, 2)


def test_what_cannot_be_saved_is_named_by_its_path(tmp_path):
    with pytest.raises(rl.CheckpointError, match=r"state\.controller\.0 is a set, which a checkpoint cannot hold"):
        checkpoint.save(tmp_path, 1, {"controller": [{1, 2}]}, keep=1)
    with pytest.raises(
        rl.CheckpointError, match=r"state\.seen has the key \(1, 2\), a tuple, which a checkpoint cannot"
    ):
        checkpoint.save(tmp_path, 1, {"seen": {(1, 2): 3}}, keep=1)
    assert checkpoint.steps(tmp_path) == []


@pytest.mark.parametrize(
    "odd",
    [
        torch.eye(2).to_sparse(),
        torch.ones(2, dtype=torch.complex128),
        torch.empty(2, device="meta"),
        torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=torch.jagged),
    ],
    ids=["sparse", "complex", "meta", "nested"],
)
def test_a_tensor_that_no_file_takes_is_named_without_writing(odd):
    with pytest.raises(rl.CheckpointError, match=r"state\.memory\.0 is a tensor, torch\..* which a checkpoint cannot"):
        checkpoint.packed({"memory": [odd]})
    assert checkpoint.packed({"memory": [torch.ones(2, dtype=torch.bfloat16)]})


def test_a_torn_folder_is_no_checkpoint(tmp_path):
    checkpoint.save(tmp_path, 1, {"a": 1}, keep=1)
    (tmp_path / ".step-2.tmp").mkdir()
    (tmp_path / ".step-2.tmp" / "state.json").write_text("{")
    assert checkpoint.load(tmp_path) == (1, {"a": 1})
    assert checkpoint.load(tmp_path)[0] == 1


def test_damage_with_nothing_before_it(tmp_path):
    checkpoint.save(tmp_path, 1, {"a": 1}, keep=1)
    (tmp_path / "step-1" / "state.json").write_text("{}")
    with pytest.raises(
        rl.CheckpointError, match=r"state\.json is damaged: its sha256 .*; there is no whole one before"
    ):
        checkpoint.load(tmp_path)
    (tmp_path / "step-1" / "tensors.safetensors").unlink()
    with pytest.raises(rl.CheckpointError, match=r"step-1.* damaged"):
        checkpoint.load(tmp_path)


def test_random_states_return_through_a_checkpoint(tmp_path):
    checkpoint.save(tmp_path, 1, {"random": checkpoint.random_state()}, keep=1)

    def drawn():
        return random.random(), float(numpy.random.rand()), float(torch.rand(()))

    first = drawn()
    assert drawn() != first
    checkpoint.restore_random(checkpoint.load(tmp_path)[1]["random"])
    assert drawn() == first


def test_a_whole_one_is_offered_even_behind_another_damaged_one(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, {"a": step}, keep=5)
    for step in (2, 3):
        (tmp_path / f"step-{step}" / "state.json").write_text("{}")
    with pytest.raises(rl.CheckpointError, match="the last whole one before it is of step 1: resume with --step 1"):
        checkpoint.load(tmp_path)


def test_what_came_after_is_forgotten_and_what_was_just_saved_is_kept(tmp_path):
    for step in (4, 5, 6):
        checkpoint.save(tmp_path, step, {"a": step}, keep=3)
    (tmp_path / ".step-7.tmp").mkdir()
    checkpoint.save(tmp_path, 3, {"a": 3}, keep=1)
    assert checkpoint.steps(tmp_path) == [3, 4, 5, 6]
    checkpoint.forget_after(tmp_path, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-3", "step-4"]
    checkpoint.save(tmp_path, 5, {"a": 5}, keep=2)
    assert checkpoint.steps(tmp_path) == [4, 5]


def test_a_torn_one_gives_its_space_back(tmp_path, monkeypatch):
    real = files.write_bytes

    def full(path, data):
        if path.name == "manifest.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data)

    monkeypatch.setattr(files, "write_bytes", full)
    with pytest.raises(rl.RlaifError, match="the disk is full"):
        checkpoint.save(tmp_path, 1, {"a": torch.ones(9)}, keep=1)
    assert list(tmp_path.iterdir()) == []


def test_two_tensors_of_one_path_stay_two(tmp_path):
    checkpoint.save(tmp_path, 1, {"a.b": torch.ones(2), "a": {"b": torch.zeros(3)}, 0: torch.ones(1), "0": {}}, keep=1)
    after = checkpoint.load(tmp_path)[1]
    assert after["a.b"].tolist() == [1, 1]
    assert after["a"]["b"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "manifest", ["[]", "null", '{"format": 2, "sha256": []}', '{"format": 2, "sha256": {}}', '{"format": 2}', "{"]
)
def test_a_damaged_manifest_is_named(manifest, tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"x": step}, keep=2)
    (tmp_path / "step-2" / "manifest.json").write_text(manifest)
    with pytest.raises(rl.CheckpointError, match=r"step-2 is damaged.*resume with --step 1"):
        checkpoint.load(tmp_path)


def test_another_format_is_named(tmp_path):
    checkpoint.save(tmp_path, 1, {"x": 1}, keep=1)
    manifest = tmp_path / "step-1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 1'))
    with pytest.raises(rl.CheckpointError, match="step-1 has format 1, but this version reads format 2"):
        checkpoint.load(tmp_path)


def test_a_file_is_no_checkpoint(tmp_path):
    checkpoint.save(tmp_path, 1, {"x": 1}, keep=1)
    (tmp_path / "step-9").write_text("notes")
    assert checkpoint.steps(tmp_path) == [1]
    assert checkpoint.load(tmp_path)[0] == 1
