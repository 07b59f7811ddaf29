from __future__ import annotations

import datasets
import pyarrow as pa
import pytest

from rlaif_judges.label.saving import ROWS, save

COLUMNS = {"id": pa.string(), "scores": pa.list_(pa.float64())}


def test_rows_are_read_back_with_their_nulls(tmp_path) -> None:
    rows = [{"id": str(n), "scores": [n / 2, None]} for n in range(2 * ROWS + 1)]
    assert save(iter(rows), COLUMNS, tmp_path / "it") == len(rows)
    found = datasets.load_from_disk(str(tmp_path / "it"))
    assert found.to_list() == rows
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_it_takes_the_place_of_an_older_one_and_none_leaves_none(tmp_path) -> None:
    save([{"id": "old", "scores": []}], COLUMNS, tmp_path / "it")
    save([{"id": "new", "scores": []}], COLUMNS, tmp_path / "it")
    assert datasets.load_from_disk(str(tmp_path / "it"))["id"][:] == ["new"]
    assert save([], COLUMNS, tmp_path / "it") == 0
    assert not list(tmp_path.iterdir())


def test_what_breaks_in_the_middle_leaves_what_was_there(tmp_path) -> None:
    save([{"id": "old", "scores": []}], COLUMNS, tmp_path / "it")

    def rows():
        yield {"id": "new", "scores": []}
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        save(rows(), COLUMNS, tmp_path / "it")
    assert datasets.load_from_disk(str(tmp_path / "it"))["id"][:] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_progress_bars_are_left_as_they_were(tmp_path, capfd) -> None:
    shown = datasets.is_progress_bar_enabled()
    save([{"id": "a", "scores": []}], COLUMNS, tmp_path / "it")
    assert datasets.is_progress_bar_enabled() == shown
    assert capfd.readouterr().err == ""
