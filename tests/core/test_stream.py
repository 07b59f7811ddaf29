"""Streams: what they draw, what they remember, and that a resumed one goes on exactly."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rlaif_core as rl
from rlaif_core.config import PromptTable
from rlaif_core.prompts import prompts_for
from rlaif_core.stream import Ids, PromptStream
from rlaif_core.testing import FakePolicy


class Rows:
    """A dataset that counts how far it was read, and how often from the start."""

    def __init__(self, count: int, **changed: str) -> None:
        self.count, self.changed, self.read, self.opened = count, changed, 0, 0

    def __call__(self) -> Iterator[rl.Prompt]:
        self.opened += 1
        for number in range(self.count):
            self.read += 1
            yield rl.Prompt(id=str(number), text=self.changed.get(f"r{number}", f"t{number}"))


def stream(rows: Any, buffer: int = 4, **keys: Any) -> PromptStream:
    return PromptStream(rows if callable(rows) else Rows(rows), seed=5, buffer=buffer, **keys)


def ids(prompts: Any) -> list[str]:
    return [prompt.id for prompt in prompts]


@given(st.integers(1, 12), st.integers(1, 15), st.integers(1, 4))
def test_every_epoch_holds_every_prompt_once(count: int, buffer: int, epochs: int) -> None:
    its = stream(count, buffer)
    for _ in range(epochs):
        assert sorted(ids(its.take(1)[0] for _ in range(count)), key=int) == [str(n) for n in range(count)]


def test_epochs_differ_and_a_seed_repeats_them() -> None:
    first, again = (ids(stream(20, 8).take(20) + stream(20, 8).take(0)) for _ in range(2))
    assert first == again
    its = stream(20, 8)
    epochs = [ids(its.take(20)) for _ in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert ids(stream(6, shuffle=False).take(6)) == [str(n) for n in range(6)]


def test_no_more_is_read_than_the_buffer_needs() -> None:
    rows = Rows(1000)
    its = stream(rows, 10)
    its.check(3)
    rows.read = 0
    its.take(3)
    assert rows.read == 12
    assert all(int(identity) < 12 for identity in ids(its.prompts))


@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 5), st.integers(0, 9), st.booleans())
def test_a_resumed_stream_goes_on_exactly(count: int, buffer: int, batch: int, taken: int, shuffle: bool) -> None:
    batch = min(batch, count)
    its, other = (stream(count, buffer, shuffle=shuffle) for _ in range(2))
    for _ in range(taken):
        its.take(batch)
    other.take(batch)
    other.load_state_dict(json.loads(json.dumps(its.state_dict())))
    assert other.state_dict() == its.state_dict()
    assert ids(other.prompts) == ids(its.prompts)  # of a batch that began in the epoch before, too
    assert [ids(other.take(batch)) for _ in range(5)] == [ids(its.take(batch)) for _ in range(5)]


def test_other_data_is_refused_if_what_was_read_of_it_differs() -> None:
    its = stream(8)
    its.take(3)
    state = its.state_dict()
    for changed in (Rows(8, r2="other"), Rows(6, r0="other"), Rows(3), Rows(2)):
        with pytest.raises(
            rl.CheckpointError, match="not those that the checkpoint was made with; restore the dataset"
        ):
            stream(changed).load_state_dict(state)
    stream(Rows(8, r7="not read yet")).load_state_dict(state)
    its.take(8)
    with pytest.raises(rl.CheckpointError, match="not those"):
        stream(Rows(8, r7="other")).load_state_dict(its.state_dict())


def test_data_that_changes_between_epochs_is_told() -> None:
    rows = Rows(5)
    its = stream(rows)
    its.take(5)
    rows.changed = {"r1": "other"}
    its.take(5)
    with pytest.raises(rl.DataError, match=r"prompts of epoch 2 are not those of the first; the data must not change"):
        its.take(1)


def test_ids_must_be_unique() -> None:
    def rows() -> Iterator[rl.Prompt]:
        for number in (0, 1, 2, 1):
            yield rl.Prompt(id=str(number), text="x")

    its = stream(rows, buffer=1)
    its.take(3)
    state = its.state_dict()
    with pytest.raises(rl.DataError, match=r"rows 1 and 3 share the id '1'; ids must be unique"):
        its.take(1)
    resumed = stream(rows, buffer=1)
    resumed.load_state_dict(state)  # what came before is known again
    with pytest.raises(rl.DataError, match=r"rows 1 and 3 share the id '1'"):
        resumed.take(1)


def test_ids_of_many_rows_do_not_stay_in_memory() -> None:
    its = Ids()
    for number in range(100_000):
        its.add(f"row-{number}", number)
    (pages,) = its._database.execute("PRAGMA page_count").fetchone()
    (size,) = its._database.execute("PRAGMA page_size").fetchone()
    (cache,) = its._database.execute("PRAGMA cache_size").fetchone()  # in KiB where negative
    assert -cache * 1024 < pages * size < 60 * 100_000
    with pytest.raises(rl.DataError, match="rows 7 and 100000 share the id 'row-7'"):
        its.add("row-7", 100_000)
    its.close()


def test_a_batch_larger_than_the_dataset() -> None:
    with pytest.raises(rl.DataError, match=r"batch is 4, but there are only 3 prompts; lower batch or add rows"):
        stream(3).take(4)
    with pytest.raises(rl.DataError, match="no prompts"):
        stream(0).check(1)


# From [prompts] --------------------------------------------------------------------------------------------------


def written(path: Path, count: int) -> str:
    rows = [{"id": f"x{n}", "prompt": f"t{n}", "level": n} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_files_are_streamed_as_they_are_read_whole(tmp_path: Path) -> None:
    files = [written(tmp_path / "a.jsonl", 30)]
    (tmp_path / "b.jsonl").write_text('{"id": "y", "prompt": "last", "level": 1}\n')
    table = PromptTable(files=[*files, str(tmp_path / "b.jsonl")], shuffle=False)
    whole, streamed = (prompts_for(table.model_copy(update={"streaming": on}), 0) for on in (False, True))
    assert isinstance(streamed, PromptStream)
    assert streamed.take(31) == whole.take(31)
    assert streamed.fingerprint == whole.fingerprint
    limited = prompts_for(table.model_copy(update={"streaming": True, "limit": 3}), 0)
    assert ids(limited.take(3) + limited.take(3)) == ["x0", "x1", "x2"] * 2


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # `datasets` leaves a CSV file to the collector
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_other_kinds_of_files(ending: str, tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_list([{"prompt": f"t{n}"} for n in range(5)])
    getattr(rows, f"to_{ending}")(str(tmp_path / f"a.{ending}"))
    its = prompts_for(PromptTable(files=str(tmp_path / f"a.{ending}"), streaming=True, shuffle=False), 0)
    assert [prompt.text for prompt in its.take(5)] == ["t0", "t1", "t2", "t3", "t4"]
    del its
    gc.collect()  # here, and not in the middle of another test


def test_a_function_is_asked_anew_each_epoch_and_a_saved_dataset_is_streamed(tmp_path: Path) -> None:
    import datasets

    (tmp_path / "make.py").write_text("def rows(n):\n    yield from ({'prompt': f't{i}'} for i in range(n))\n")
    datasets.Dataset.from_list([{"prompt": f"t{n}"} for n in range(3)]).save_to_disk(str(tmp_path / "saved"))
    made = PromptTable(dataset=f"{tmp_path}/make.py:rows", options={"n": 3}, streaming=True)
    for table in (made, PromptTable(dataset=str(tmp_path / "saved"), streaming=True)):
        its = prompts_for(table, 0)
        assert {prompt.text for prompt in its.take(3)} == {prompt.text for prompt in its.take(3)} == {"t0", "t1", "t2"}


def test_objects_are_streamed_if_they_can_be_gone_through_again() -> None:
    import datasets

    table = PromptTable(streaming=True)
    rows = datasets.Dataset.from_list([{"prompt": "a"}, {"prompt": "b"}])
    for objects in (rows.to_iterable_dataset(), [{"prompt": "a"}, {"prompt": "b"}]):
        its = prompts_for(table, 0, objects)
        assert sorted(prompt.text for prompt in its.take(2) + its.take(2)) == ["a", "a", "b", "b"]
    with pytest.raises(
        rl.ConfigError, match="goes through the prompts once an epoch, but a generator can be only once"
    ):
        prompts_for(table, 0, iter([{"prompt": "a"}]))
    with pytest.raises(rl.DataError, match="the prompts are a int, but must be a list"):
        prompts_for(table, 0, 5)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (['{"prompt": "a"}', '{"prompt": ""}'], r"a\.jsonl, line 2: column 'prompt' is empty"),
        (['{"prompt": "a"}', "{not json"], r"a\.jsonl, line 2: not valid JSON"),
        (
            ['{"prompt": "a"}', '{"prompt": [{"role": "user", "content": "b"}]}'],
            r"a\.jsonl, line 2: .*mixes plain texts",
        ),
        ([], r"a\.jsonl is empty|the dataset has no rows"),
    ],
)
def test_what_is_wrong_with_a_row_is_told_when_it_is_read(lines: list[str], complaint: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f"{line}\n" for line in lines))
    its = prompts_for(PromptTable(files=str(tmp_path / "a.jsonl"), streaming=True), 0)
    with pytest.raises(rl.DataError, match=complaint):
        its.take(2)


# Runs ------------------------------------------------------------------------------------------------------------


def config(tmp_path: Path, out: str, *changes: str) -> rl.RunConfig:
    tables = {
        "run": {"seed": 3, "steps": 6, "out": str(tmp_path / out), "save_every": 1, "keep": 9, "tensorboard": False},
        "prompts": {"files": written(tmp_path / "a.jsonl", 5), "streaming": True, "buffer": 3, "batch": 2, "group": 2},
        "actions": [{"use": "sample", "max_tokens": 4}],
        "rewards": [{"use": "length", "target": 2}],
        "credit": {"use": "group"},
        "optimiser": {"use": "reinforce", "lr": 0.1},
    }
    return rl.RunConfig.of(tables, "test", changes)


def timeless(history: Any) -> list[dict[str, float]]:
    return [{k: v for k, v in step.items() if k not in ("seconds", "tokens_per_second")} for step in history]


@pytest.mark.parametrize("updates", [1, 2])
def test_a_run_resumes_bit_for_bit_within_an_epoch_and_across_its_end(updates: int, tmp_path: Path) -> None:
    made = config(tmp_path, "run", f"run.updates={updates}")
    straight = rl.run(made, policy=FakePolicy(), progress=False)
    wanted = timeless(straight)
    for step in (1, 2, 3, 4, 5):
        assert timeless(rl.resume(straight.folder, step=step, policy=FakePolicy(), progress=False)) == wanted


def test_a_resumed_run_refuses_other_data(tmp_path: Path) -> None:
    folder = rl.run(config(tmp_path, "run"), policy=FakePolicy(), progress=False).folder
    written(tmp_path / "a.jsonl", 4)
    with pytest.raises(rl.CheckpointError, match="not those that the checkpoint was made with"):
        rl.resume(folder, step=4, policy=FakePolicy(), progress=False)


@pytest.mark.real
def test_published_data_is_streamed(real_data: Path) -> None:
    file = str(real_data / "data" / "text_shakespeare.jsonl")
    table = PromptTable(files=file, streaming=True, buffer=100, id="number")
    its, other = prompts_for(table, 1), prompts_for(table, 1)
    epoch = [prompt for _ in range(54) for prompt in its.take(100)]
    assert len({prompt.id for prompt in epoch}) == 5400
    other.load_state_dict(its.state_dict())
    assert ids(islice(its.take(100), 100)) == ids(other.take(100))
