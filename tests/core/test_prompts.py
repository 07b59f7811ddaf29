from __future__ import annotations

import json
import re
from datetime import date

import numpy as np
import pytest

import rlaif_core as rl
from rlaif_core.config import PromptTable
from rlaif_core.malformed import cache_refused
from rlaif_core.prompts import Prompts, check_prompts, load_function, load_prompts, prompts_of


def written(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def load(path, **keys):
    return load_prompts(PromptTable(files=str(path), **keys))


def test_rows_become_prompts_with_their_other_columns_as_meta(tmp_path):
    file = written(
        tmp_path / "a.jsonl", {"id": "x", "prompt": "one", "level": 3}, {"id": "y", "prompt": "two", "level": 4}
    )
    first, second = load(file)
    assert (first.id, first.text, first.meta["level"]) == ("x", "one", 3)
    assert second.id == "y"


def test_ids_from_a_column_or_the_row_number(tmp_path):
    file = written(tmp_path / "a.jsonl", {"key": 10, "prompt": "one"}, {"key": 11, "prompt": "two"})
    assert [prompt.id for prompt in load(file)] == ["row-0", "row-1"]
    assert [prompt.id for prompt in load(file, id="key")] == ["10", "11"]


def test_chat_rows_and_a_system_message(tmp_path):
    chat = [{"role": "user", "content": "hello"}]
    file = written(tmp_path / "a.jsonl", {"messages": chat})
    assert load(file)[0].messages == ({"role": "user", "content": "hello"},)
    prompt = load(file, system="be kind")[0]
    assert [message["role"] for message in prompt.messages] == ["system", "user"]
    plain = load(written(tmp_path / "b.jsonl", {"prompt": "hi"}), system="be kind")[0]
    assert [message["content"] for message in plain.messages] == ["be kind", "hi"]


@pytest.mark.parametrize("key", ["prompt", "messages"])
def test_a_second_system_message_is_refused(tmp_path, key):
    own = [{"role": "system", "content": "be rude"}, {"role": "user", "content": "hello"}]
    file = written(tmp_path / "a.jsonl", {"id": "x", key: own[1:]}, {"id": "y", key: own})
    assert [message["role"] for message in load(file)[1].messages] == ["system", "user"]
    with pytest.raises(
        rl.DataError, match=r"a\.jsonl, line 2: its messages have a system message of their own; leave out \[prompts\]"
    ):
        load(file, system="be kind")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"a\.jsonl is empty; nothing to train on"),
        (["{not json"], r"a\.jsonl, line 1: not valid JSON .*one JSON object a line is expected"),
        ([{"prompt": "fine"}, "[1, 2"], r"a\.jsonl, line 2: not valid JSON"),
        ([{"prompt": "fine"}, '"text"'], r"a\.jsonl, line 2: a str, but one JSON object a line"),
        ([{"prompt": "text"}, {"prompt": [{"role": "user", "content": "x"}]}], r"mixes plain texts and chat messages"),
        ([{"prompt": "text"}, {"prompt": 3}], r"a\.jsonl, line 2: column 'prompt' is a int"),
        ([{"question": "why"}], r"a\.jsonl, line 1: no column 'prompt'.*Columns: question"),
        (
            [{"prompt": "fine"}, "", {"prompt": ""}],
            r"a\.jsonl, line 3: column 'prompt' is empty; a prompt is a text or",
        ),
        ([{"prompt": 3}], r"a\.jsonl, line 1: column 'prompt' is a int; a prompt is a text or a list of chat messages"),
        ([{"prompt": "fine"}, '{"prompt": "x\\ud800"}'], r"a\.jsonl, line 2: half a character \(a lone surrogate\)"),
        (
            [{"prompt": "fine"}, '{"prompt": "x", "prompt": "y"}'],
            r"a\.jsonl, line 2: the key 'prompt' comes twice; keep one",
        ),
        (
            [{"prompt": "fine", "id": "a"}, {"prompt": "x", "id": ""}],
            r"a\.jsonl, line 2: column 'id' is empty; give every row an id",
        ),
        (
            [{"prompt": [{"content": "no role"}]}],
            r"a\.jsonl, line 1: column 'prompt': the role of a message is missing",
        ),
    ],
)
def test_malformed_datasets_are_told_apart(tmp_path, rows, message):
    with pytest.raises(rl.DataError, match=message):
        load(written(tmp_path / "a.jsonl", *rows))


def test_a_column_that_is_named_must_exist(tmp_path):
    file = written(tmp_path / "a.jsonl", {"question": "why", "prompt": "x"})
    with pytest.raises(rl.DataError, match=r"line 1: no column 'questions'; did you mean 'question'\?"):
        load(file, column="questions")
    with pytest.raises(rl.DataError, match=r"line 1: no id column 'key'"):
        load(file, id="key")
    with pytest.raises(rl.DataError, match=r"absent\.jsonl: there is no such file"):
        load(tmp_path / "absent.jsonl")


def test_texts_and_chats_do_not_mix():
    rows = [{"id": "a", "prompt": "text"}, {"id": "b", "prompt": [{"role": "user", "content": "x"}]}]
    with pytest.raises(
        rl.DataError, match=r"mixes plain texts and chat messages \(prompt 'b' differs from the first\)"
    ):
        prompts_of(rows, PromptTable())


@pytest.mark.parametrize("rows", [5, None, "a.jsonl", {"prompt": "one"}, len])
def test_what_holds_no_rows_is_refused(rows):
    kind = type(rows).__name__
    with pytest.raises(
        rl.DataError, match=rf"the prompts are a {kind}, but must be a list .* each a Prompt or a mapping"
    ):
        prompts_of(rows, PromptTable())


def test_rows_may_be_whatever_can_be_gone_through():
    class Rows:
        def __getitem__(self, number):
            return [{"prompt": "one"}, {"prompt": "two"}][number]

    for rows in (Rows(), iter([{"prompt": "one"}, {"prompt": "two"}])):
        assert [prompt.text for prompt in prompts_of(rows, PromptTable())] == ["one", "two"]


def test_ids_must_be_unique():
    rows = [{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "two"}, {"id": "a", "prompt": "three"}]
    with pytest.raises(rl.DataError, match=r"rows 0 and 2 share the id 'a'"):
        Prompts(prompts_of(rows, PromptTable()), seed=0)


def test_map_rewrites_rows_and_leaves_some_out(tmp_path):
    file = written(tmp_path / "a.jsonl", *({"text": f"{n}", "n": n} for n in range(4)))
    (tmp_path / "change.py").write_text(
        "def even(row):\n    return None if row['n'] % 2 else {'prompt': 'say ' + row['text']}\n"
    )
    assert [p.text for p in load(file, map=f"{tmp_path}/change.py:even")] == ["say 0", "say 2"]
    assert len(load(file, map=f"{tmp_path}/change.py:even", limit=1)) == 1
    with pytest.raises(rl.PluginError, match=r"has no function 'odd'"):
        load(file, map=f"{tmp_path}/change.py:odd")
    with pytest.raises(rl.PluginError, match=r"no such file"):
        load_function(str(tmp_path / "nothing.py") + ":even")
    (tmp_path / "none.py").write_text("def none(row):\n    return None\n")
    with pytest.raises(rl.DataError, match="map left out all 4 rows"):
        load(file, map=f"{tmp_path}/none.py:none")


def test_a_dataset_may_be_a_function(tmp_path):
    (tmp_path / "make.py").write_text("def rows(count):\n    return [{'prompt': str(n)} for n in range(count)]\n")
    table = PromptTable(dataset=f"{tmp_path}/make.py:rows", options={"count": 3})
    assert [prompt.text for prompt in load_prompts(table)] == ["0", "1", "2"]
    with pytest.raises(rl.ConfigError, match="options are for a dataset that is a function"):
        load_prompts(PromptTable(files="x.jsonl", options={"count": 3}))


def test_a_saved_dataset_folder_and_other_formats(tmp_path):
    import datasets

    datasets.Dataset.from_list([{"prompt": "one"}, {"prompt": "two"}]).save_to_disk(str(tmp_path / "saved"))
    for place in ({"dataset": str(tmp_path / "saved")}, {"files": str(tmp_path / "saved")}):
        assert len(load_prompts(PromptTable(**place))) == 2
    (tmp_path / "a.csv").write_text("prompt,level\none,1\ntwo,2\n")
    assert [p.meta["level"] for p in load_prompts(PromptTable(dataset="csv", files=str(tmp_path / "a.csv")))] == [1, 2]


def saved(folder, *, split=None, **sizes):
    """The folder of a saved dataset of 4 rows, or of several of those sizes by their splits' names."""
    import datasets

    def rows(name, count):
        made = [{"id": f"{name}{n}", "prompt": "x"} for n in range(count)]
        return datasets.Dataset.from_list(made, split=name if name == split else None)

    parts = datasets.DatasetDict({name: rows(name, count) for name, count in sizes.items()})
    (parts or rows(split or "", 4)).save_to_disk(str(folder))
    return str(folder)


@pytest.mark.parametrize(
    ("split", "ids"),
    [
        ("train", "0 1 2 3"),
        ("train[:2]", "0 1"),
        ("train[75%:]", "3"),
        ("train[-1:]+train[:1]", "3 0"),
        ("all", "0 1 2 3"),
    ],
)
def test_a_part_of_a_saved_dataset_as_of_a_file(tmp_path, split, ids):
    file = written(tmp_path / "a.jsonl", *({"id": str(n), "prompt": "x"} for n in range(4)))
    for source in ({"dataset": saved(tmp_path / "saved")}, {"files": file}):
        assert " ".join(prompt.id for prompt in load_prompts(PromptTable(**source, split=split))) == ids


def test_a_saved_dataset_goes_by_its_own_name_as_well(tmp_path):
    folder = saved(tmp_path / "saved", split="test")
    for split in ("train[:1]", "test[:1]"):
        assert [prompt.id for prompt in load_prompts(PromptTable(dataset=folder, split=split))] == ["test0"]


@pytest.mark.parametrize(
    ("split", "ids"),
    [("train", "train0 train1"), ("test[1:]", "test1 test2"), ("test[:1]+train[:1]", "test0 train0")],
)
def test_saved_splits_are_chosen_by_name(tmp_path, split, ids):
    table = PromptTable(dataset=saved(tmp_path / "saved", train=2, test=3), split=split)
    assert " ".join(prompt.id for prompt in load_prompts(table)) == ids
    assert len(load_prompts(table.model_copy(update={"split": "all"}))) == 5


@pytest.mark.parametrize("sizes", [{}, {"train": 2, "test": 3}])
def test_a_split_that_a_saved_dataset_lacks_is_refused(tmp_path, sizes):
    folder = saved(tmp_path / "saved", **sizes)
    with pytest.raises(
        rl.DataError, match=r"saved cannot be loaded: Unknown split \"nonsense\"\. Should be one of \['train'"
    ):
        load_prompts(PromptTable(dataset=folder, split="nonsense"))
    with pytest.raises(rl.DataError, match=r"saved cannot be loaded: Unrecognized instruction format: train\[:2"):
        load_prompts(PromptTable(dataset=folder, split="train[:2"))


def prompts(count: int, **keys) -> Prompts:
    return Prompts([rl.Prompt(id=str(n), text=f"t{n}") for n in range(count)], seed=5, **keys)


def test_every_epoch_holds_every_prompt_once_in_its_own_order():
    stream = prompts(7)
    taken = [prompt.id for _ in range(7) for prompt in stream.take(3)]
    epochs = [taken[start : start + 7] for start in (0, 7, 14)]
    assert all(sorted(epoch) == [str(n) for n in range(7)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [p.id for p in prompts(7, shuffle=False).take(7)] == [str(n) for n in range(7)]


def test_the_cursor_goes_through_a_checkpoint():
    stream, other = prompts(5), prompts(5)
    stream.take(4)
    other.load_state_dict(stream.state_dict())
    assert [p.id for p in other.take(5)] == [p.id for p in stream.take(5)]
    with pytest.raises(rl.CheckpointError, match="not those that the checkpoint was made with"):
        prompts(6).load_state_dict(stream.state_dict())


def test_a_batch_larger_than_the_dataset():
    with pytest.raises(rl.DataError, match=r"batch is 4, but there are only 3 prompts; lower batch or add rows"):
        prompts(3).take(4)
    with pytest.raises(rl.DataError, match="no prompts"):
        prompts(0)


def test_how_a_file_is_read_follows_from_its_ending(tmp_path):
    (tmp_path / "a.csv").write_text("id,prompt\nx,one\ny,two\n")
    (tmp_path / "b.txt").write_text("three\nfour\n")
    assert [prompt.text for prompt in load(tmp_path / "a.csv")] == ["one", "two"]
    assert [prompt.text for prompt in load(tmp_path / "b.txt")] == ["three", "four"]
    assert [prompt.text for prompt in load(written(tmp_path / "c", {"prompt": "five"}))] == ["five"]


@pytest.mark.parametrize(("name", "sep"), [("a.csv", ","), ("a.tsv", "\t")])
def test_a_table_with_more_fields_than_its_header_is_refused(tmp_path, name, sep):
    table = PromptTable(dataset=str(tmp_path), column="question")
    file = tmp_path / name
    file.write_text('question,answer\none,"1\n1"\ntwo,2\n'.replace(",", sep))
    assert [(prompt.text, dict(prompt.meta)) for prompt in load_prompts(table)] == [
        ("one", {"answer": "1\n1"}),
        ("two", {"answer": "2"}),
    ]
    file.write_text("question,answer\none,1,more\ntwo,2,more\n".replace(",", sep))
    with pytest.raises(rl.DataError, match="the rows have more fields than the header names columns; name them all"):
        load_prompts(table)


@pytest.mark.parametrize(("rows", "line"), [(["one,1,a", "two,2,b"], 2), (["one,1", "two,2,b"], 3)])
def test_the_line_that_has_more_is_named(tmp_path, rows, line):
    file = written(tmp_path / "a.csv", "prompt,level", *rows)
    with pytest.raises(rl.DataError, match=rf"a\.csv, line {line}: 3 fields, but the header names 2 columns"):
        load(file)
    with pytest.raises(rl.DataError, match=rf"a\.csv, line {line}: 3 fields"):
        load(tmp_path / "*.csv")


def test_what_the_reader_met_is_told_where_no_line_can_be(tmp_path):
    with pytest.raises(rl.DataError, match=r"cannot be loaded as json: .*dataset: JSON parse error: .*specified twice"):
        load(written(tmp_path / "a.data", '{"prompt": "x", "prompt": "y"}'))


def test_a_pattern_must_match_a_file(tmp_path):
    written(tmp_path / "a.jsonl", {"prompt": "one"})
    assert len(load(tmp_path / "*.jsonl")) == 1
    with pytest.raises(rl.DataError, match=r"\*\.nope: no file matches this pattern \(looked in "):
        load(tmp_path / "*.nope")


@pytest.mark.parametrize("name", ["[1]/data[1].jsonl", "[1]/what?.jsonl", "[1]/a*b.jsonl", "plain/../[1]/[a].jsonl"])
def test_a_name_may_hold_what_a_pattern_is_made_of(tmp_path, monkeypatch, name):
    (tmp_path / "[1]").mkdir()
    (tmp_path / "plain").mkdir()
    written(tmp_path / name, {"prompt": "one"})
    written(tmp_path / "[1]" / "axb.jsonl", {"prompt": "another"})
    monkeypatch.chdir(tmp_path)
    for file in (name, tmp_path / name):
        assert [prompt.text for prompt in load(file)] == ["one"]
    monkeypatch.chdir(tmp_path / "[1]")
    assert len(load("../" + name)) == 1
    assert len(load("*.jsonl")) == 2
    written(tmp_path / "plain" / "b1.jsonl", {"prompt": "beside"})
    assert [prompt.text for prompt in load("../plain/b*.jsonl")] == ["beside"]
    written(tmp_path / name, "{not json")
    with pytest.raises(rl.DataError, match=re.escape(f"{name}, line 1: not valid JSON")):
        load(tmp_path / name)


def test_files_of_several_kinds_are_refused(tmp_path):
    files = [written(tmp_path / "a.jsonl", {"prompt": "one"}), written(tmp_path / "b.CSV", "prompt", "two")]
    told = r"a\.jsonl is read as json, but .*b\.CSV as csv; name files of one kind, or say with dataset = 'json' that"
    for named in (files, str(tmp_path / "*")):
        for look in (load_prompts, check_prompts):
            with pytest.raises(rl.DataError, match=told):
                look(PromptTable(files=named))
    written(tmp_path / "c.tsv", "prompt", "three")
    read = load_prompts(PromptTable(dataset="csv", files=[files[1], str(tmp_path / "c.tsv")]))
    assert [prompt.text for prompt in read] == ["two", "three"]
    assert [prompt.text for prompt in load(tmp_path / "b*")] == ["two"]


@pytest.mark.parametrize("beside", ["", "/datasets"])
def test_a_cache_that_cannot_be_written_is_not_the_data_s_fault(tmp_path, monkeypatch, beside):
    import datasets

    file = written(tmp_path / "a.jsonl", {"prompt": "one"})
    written(tmp_path / "taken")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", f"{tmp_path}/taken{beside}/cache")
    told = r"the cache of `datasets` cannot be written \(Not a directory: .*taken.*\); set the environment variable"
    with pytest.raises(rl.RlaifError, match=told) as caught:
        load(file)
    assert not isinstance(caught.value, rl.DataError)


def test_a_file_that_cannot_be_read_is_the_data_s_fault_even_in_the_cache(tmp_path):
    file = tmp_path / "a.jsonl"
    error = PermissionError(13, "Permission denied", str(file))
    assert cache_refused(error, [str(file)], [tmp_path]) is None
    assert cache_refused(ValueError(), [str(file)], [tmp_path]) is None
    late = ValueError()
    late.__cause__ = error
    assert "(Permission denied: " in (cache_refused(late, [], [tmp_path]) or "")


def test_what_is_no_text_file_is_named(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "fine"}\n{"prompt": "caf\u00e9"}\n'.encode("latin-1"))
    with pytest.raises(rl.DataError, match=r"latin\.jsonl, line 2: not UTF-8; save the file in that encoding"):
        load(tmp_path / "latin.jsonl")
    with pytest.raises(rl.DataError, match="is a folder, not a file"):
        load(tmp_path)
    with pytest.raises(rl.ConfigError, match="names neither files nor a dataset"):
        load_prompts(PromptTable())


def test_prompts_are_found_in_the_usual_columns_unless_one_is_named(tmp_path):
    file = written(tmp_path / "a.jsonl", {"text": "one"}, {"text": "two"})
    assert [prompt.text for prompt in load(file)] == ["one", "two"]
    with pytest.raises(rl.DataError, match=r"line 1: no column 'prompt'"):
        load(file, column="prompt")


def test_the_fingerprint_knows_every_column_and_is_the_same_in_every_process():
    def mark(**meta):
        return Prompts([rl.Prompt(id="a", text="b", meta=meta)], seed=0).fingerprint

    assert mark(at=date(2020, 1, 2), raw=b"x", many=np.arange(2)) == mark(
        at=date(2020, 1, 2), raw=b"x", many=np.arange(2)
    )
    assert len({mark(), mark(at=date(2020, 1, 2)), mark(at=date(2020, 1, 3)), mark(raw=b"x"), mark(raw=b"y")}) == 5
    assert mark(thing=object()) == mark(thing=object())
