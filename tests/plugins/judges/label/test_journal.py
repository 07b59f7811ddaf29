from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import DataError
from rlaif_judges.label.journal import FILE, Journal

ASKED = (("scores", "main"), 0.5)


def filled(folder: Path, count: int = 3) -> bytes:
    with Journal(folder) as journal:
        for number in range(count):
            journal.append([(("k", str(number)), "done", {"text": f"said {number}\n"})], ASKED)
    return (folder / FILE).read_bytes()


def test_what_is_appended_is_read_back_by_another(tmp_path: Path) -> None:
    filled(tmp_path)
    with Journal(tmp_path) as journal:
        assert journal.get(("k", "1")) == {"key": ["k", "1"], "state": "done", "text": "said 1\n"}
        assert journal.get(("k", "9")) is None
        assert journal.settled(("k", "2"))
        assert journal.seconds["scores", "main"] == 1.5


def test_a_failure_is_there_and_not_settled_until_it_is_made_good(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append([(("k",), "failed", {"reason": "down"}), (("l",), "abstained", {"reason": "?"})], ASKED)
        assert journal.get(("k",))["reason"] == "down"
        assert not journal.settled(("k",))
        assert journal.settled(("l",))
        journal.append([(("k",), "done", {"text": "up"})], ASKED)
    with Journal(tmp_path) as journal:
        assert journal.settled(("k",))
        assert journal.get(("k",))["text"] == "up"


def test_a_journal_torn_anywhere_keeps_every_whole_record_before_and_goes_on(tmp_path: Path) -> None:
    whole = filled(tmp_path)
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        (tmp_path / FILE).write_bytes(whole[:cut])
        lines = sum(end <= cut for end in ends)
        with Journal(tmp_path) as journal:
            assert [journal.settled(("k", str(n))) for n in range(3)] == [lines > 2 * n for n in range(3)]
            journal.append([(("new",), "done", {"text": "x"})], ASKED)
        with Journal(tmp_path) as journal:
            assert journal.settled(("new",))


def test_blocks_of_zeros_that_a_power_cut_leaves_are_cut_off(tmp_path: Path) -> None:
    whole = filled(tmp_path)
    (tmp_path / FILE).write_bytes(whole + b"\0" * 100)
    with Journal(tmp_path) as journal:
        assert journal.settled(("k", "2"))
    assert (tmp_path / FILE).read_bytes() == whole


def test_damage_in_the_middle_is_said_with_its_line(tmp_path: Path) -> None:
    lines = filled(tmp_path).splitlines(keepends=True)
    (tmp_path / FILE).write_bytes(lines[0] + b"{rubbish\n" + b"".join(lines[1:]))
    with pytest.raises(DataError, match=r"journal\.jsonl, line 2 is damaged; restore"):
        Journal(tmp_path)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_any_text_is_kept_as_it_is(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder) as journal:
        journal.append([((text, str(n)), "done", {"text": text}) for n, text in enumerate(texts)], ASKED)
    with Journal(folder) as journal:
        for number, text in enumerate(texts):
            assert journal.get((text, str(number)))["text"] == text


def test_half_a_character_is_kept_and_the_file_is_ascii(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append([(("k",), "done", {"text": "\ud800"})], ASKED)
        assert journal.get(("k",))["text"] == "\ud800"
    json.loads((tmp_path / FILE).read_bytes().splitlines()[0])
    assert (tmp_path / FILE).read_bytes().isascii()


def test_a_number_that_is_none_never_gets_in(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal, pytest.raises(ValueError, match="Out of range"):
        journal.append([(("k",), "done", {"value": float("nan")})], ASKED)
    assert (tmp_path / FILE).read_bytes() == b""
