from __future__ import annotations

import pytest

from rlaif_core import ConfigError, DataError
from rlaif_judges.label import folder as folders
from rlaif_judges.label.config import LabelConfig

GIVEN = {"prompts": {}, "judges": {"main": {"use": "function", "path": "f.py:f"}}, "label": {"what": ["scores"]}}


def opened(folder, its, **how) -> None:
    how = {"anew": False, "again": "rlaif label x.toml", **how}
    folders.opened(folder, LabelConfig.of(GIVEN), its, **how)


def test_it_is_gone_on_with_by_the_same_alone(tmp_path) -> None:
    opened(tmp_path, {"a": 1, "b": [1, 2]})
    opened(tmp_path, {"a": 1, "b": [1, 2]})
    with pytest.raises(ConfigError, match=r"different in a, c; .* begin anew with: rlaif label x\.toml --anew"):
        opened(tmp_path, {"a": 2, "b": [1, 2], "c": 3})


def test_the_config_in_it_can_be_read_again(tmp_path) -> None:
    opened(tmp_path, {"a": 1})
    assert LabelConfig.load(tmp_path / folders.CONFIG).key() == LabelConfig.of(GIVEN).key()


def test_what_is_begun_anew_sets_the_old_aside_each_time(tmp_path) -> None:
    for number in range(3):
        opened(tmp_path, {"a": number}, anew=True)
        (tmp_path / "journal.jsonl").write_text(str(number))
    kept = [(tmp_path / "before" / str(n) / "journal.jsonl").read_text() for n in (1, 2)]
    assert kept == ["0", "1"]


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="is a file; choose a folder with --out"):
        folders.made(tmp_path / "out")


def test_an_unreadable_identity_is_no_identity(tmp_path) -> None:
    (tmp_path / folders.IDENTITY).write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        opened(tmp_path, {"a": 1})


def test_what_a_judge_reads_is_part_of_who_it_is(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.py").write_text("one")
    before = folders.identity(LabelConfig.of(GIVEN), "p", "s")
    (tmp_path / "f.py").write_text("two")
    after = folders.identity(LabelConfig.of(GIVEN), "p", "s")
    assert [key for key in before if before[key] != after[key]] == ["what judges.main.path names"]


def test_weights_are_no_account(tmp_path) -> None:
    class Weighty:
        def state_dict(self):
            return {"kept": object()}

        def load_state_dict(self, state):
            raise AssertionError(state)

    for _ in range(2):
        folders.accounts(tmp_path, {"main": Weighty(), "other": object()})
    assert (tmp_path / "judges.json").read_text() == "{}"
