from __future__ import annotations

import json
from pathlib import Path

import pytest

import rlaif_core as rl
from faulty_server import Answer, FaultyServer, Seen, error, scored
from judging import Scripted
from labels import ROWS, Telling, language, longer, shares
from rlaif_core import ConfigError, Failed, FeedbackError, Score
from rlaif_core.config import PromptTable
from rlaif_core.prompts import load_prompts
from rlaif_core.testing import FakePolicy
from rlaif_judges.economy.budget import Economy
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.opening import Accountable


def test_a_preference_is_a_soft_label(label, rows_of) -> None:
    judge, backend = language(shares, cost=0.25)
    report = label({"main": judge})
    rows = rows_of("preferences")
    assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
    assert rows[0]["prompt"] == "question 0"
    assert (rows[0]["chosen"], rows[0]["rejected"]) == ("a longer one 0", "short 0")
    assert rows[0]["probability"] == pytest.approx(0.8)
    assert rows[0]["margin"] == pytest.approx(0.6)
    assert (rows[0]["tie"], rows[0]["judge"], rows[0]["cost"]) == (False, "main", 0.5)
    assert rows[0]["reason"].startswith("preferred with 0.80")
    (entry,) = report["labels"]
    assert (entry["labelled"], entry["calls"], entry["cost"]) == (5, 10, 2.5) == (5, len(backend.asked), 2.5)
    assert entry["longer_preferred"] == 1.0
    assert entry["longer_by"] == len("a longer one 0") - len("short 0")
    assert json.loads((Path(report["folder"]) / "report.json").read_text()) == json.loads(json.dumps(report))


@pytest.mark.parametrize("chat", [False, True])
def test_each_kind_is_a_dataset_that_a_run_replays(label, tmp_path: Path, chat: bool) -> None:
    said = [{"role": "user", "content": "is it red"}] if chat else "is it red"
    label({"main": Telling(longer)}, ["scores", "preferences", "ranking"], [{**row, "prompt": said} for row in ROWS])
    plugins = rl.Plugins.load()
    replay, recorded = plugins.build("actions", "replay", {}), plugins.build("rewards", "recorded", {})
    for what, expected in {"scores": [0.07, 0.14], "preferences": [1.0, 0.0], "ranking": [-0.5, 0.5]}.items():
        prompts = load_prompts(PromptTable(files=str(tmp_path / "out" / what)))
        rollouts = replay.act(FakePolicy().sampler(seed=0, step=0, group=1), prompts, None)
        values = [outcome.value for outcome in recorded.score(rollouts)]
        assert values == expected * 5, what


def test_conversations_come_out_as_trl_reads_them(label, rows_of) -> None:
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who?"}]
    answers = [[{"role": "assistant", "content": "I."}], [{"role": "assistant", "content": "Nobody."}]]
    label({"main": Telling(longer)}, ["preferences", "scores"], [{"prompt": said, "answers": answers}])
    (row,) = rows_of("preferences")
    assert row["prompt"] == said
    assert row["chosen"] == [{"role": "assistant", "content": "Nobody."}]
    assert row["rejected"] == [{"role": "assistant", "content": "I."}]
    assert rows_of("scores")[0]["answers"] == ["I.", "Nobody."]


def test_the_first_judge_decides_and_each_has_its_columns(label, rows_of) -> None:
    shorter = Telling(lambda question: [Score(-its.value, "brief") for its in longer(question)])
    report = label(
        {"long": Telling(longer), "short": shorter}, gold={"column": "gold"}, rows=[{**ROWS[0], "gold": [0, 1]}]
    )
    (row,) = rows_of("preferences")
    assert row["chosen"] == "a longer one 0"
    assert (row["probability"], row["long_probability"], row["short_probability"]) == (0.75, 0.75, 0.25)
    assert row["short_reason"] == "brief"
    assert [(its["judge"], its["gold_accuracy"]) for its in report["labels"]] == [("long", 1.0), ("short", 0.0)]
    assert report["agreement"] == [
        {"what": "preferences", "judges": ["long", "short"], "pairs": 1, "accuracy": 0.0, "kappa": 0.0}
    ]


def test_a_judge_asked_by_another_does_not_label_itself(label) -> None:
    one, other = Telling(longer), Telling(longer)
    both = {"both": {"use": "ensemble", "judges": ["one", "other"]}}
    report = label({"one": one, "other": other}, asking=both)
    assert [its["judge"] for its in report["labels"]] == ["both"]
    assert len(one.asked) == len(other.asked) == 5


def test_what_was_said_before_an_outage_is_never_asked_again(label, tmp_path: Path) -> None:
    asked: list[str] = []

    def say(question: rl.Question):
        if len(asked) == 4 and not back:
            raise ConnectionError("the server is gone")
        asked.append(question.prompt.id)
        return longer(question)

    back: list[bool] = []
    judge = Telling(say)
    with pytest.raises(ConnectionError) as caught:
        label({"main": judge}, label={"batch": 2})
    assert any("go on with: rlaif label" in note for note in caught.value.__notes__)
    assert not (tmp_path / "out" / "preferences").exists()
    assert not (tmp_path / "out" / "report.json").exists()
    back.append(True)
    report = label({"main": judge}, label={"batch": 2})
    assert asked == ["p0", "p1", "p2", "p3", "p4"]
    assert report["labels"][0]["labelled"] == 5
    label({"main": judge}, label={"batch": 3})
    assert len(asked) == 5


def test_what_failed_is_listed_never_a_label_and_asked_again_by_a_later_call(label, rows_of, tmp_path: Path) -> None:
    down = True

    def say(question: rl.Question):
        return (
            [Failed("no reply", 0.5), Failed("no reply")] if down and question.prompt.id == "p1" else longer(question)
        )

    judge = Telling(say)
    report = label({"main": judge}, label={"max_failed": 0.5})
    assert [row["id"] for row in rows_of("preferences")] == ["p0", "p2", "p3", "p4"]
    (line,) = (tmp_path / "out" / "failures.jsonl").read_text().splitlines()
    expected = {
        "what": "preferences",
        "judge": "main",
        "id": "p1",
        "answers": [0, 1],
        "reason": "no reply",
        "cost": 0.5,
    }
    assert json.loads(line) == expected
    assert (report["labels"][0]["failed"], report["labels"][0]["labelled"]) == (1, 4)
    down = False
    label({"main": judge}, label={"max_failed": 0.5})
    assert [row["id"] for row in rows_of("preferences")] == ["p0", "p1", "p2", "p3", "p4"]
    assert [question.prompt.id for question in judge.asked[5:]] == ["p1"]
    assert (tmp_path / "out" / "failures.jsonl").read_text() == ""


def test_abstentions_are_kept_apart(label, rows_of, tmp_path: Path) -> None:
    judge = Telling(lambda its: [rl.Abstain("no idea")] * 2 if its.prompt.id == "p2" else longer(its))
    report = label({"main": judge})
    assert len(rows_of("preferences")) == 4
    assert json.loads((tmp_path / "out" / "abstentions.jsonl").read_text())["reason"] == "no idea"
    assert report["labels"][0]["abstained"] == 1
    assert report["reasons"]["abstained"] == [("no idea", 1)]
    label({"main": judge})
    assert len(judge.asked) == 5


def test_too_many_failures_stop_it_with_everything_kept(label, tmp_path: Path) -> None:
    judge = Telling(lambda its: [Failed("rate limit")] * 2 if its.prompt.id > "p1" else longer(its))
    with pytest.raises(
        FeedbackError, match=r"1 of the last 3 questions to judge 'main' failed.*max_failed = 0.1.*rate"
    ):
        label({"main": judge}, label={"batch": 1})
    assert not (tmp_path / "out" / "preferences").exists()
    assert [question.prompt.id for question in judge.asked] == ["p0", "p1", "p2"]


def test_another_config_is_refused_by_what_differs_unless_it_begins_anew(label, tmp_path: Path) -> None:
    judge = Telling(longer)
    label({"main": judge})
    with pytest.raises(ConfigError, match=r"different in label\.rubric, the rubric or constitution; .* --anew"):
        label({"main": judge}, label={"rubric": "taste"})
    with pytest.raises(ConfigError, match="different in the prompts"):
        label({"main": judge}, rows=ROWS[:4])
    assert len(judge.asked) == 5
    label({"main": judge}, label={"rubric": "taste"}, anew=True)
    assert judge.asked[-1].rubric == "taste"
    assert len(judge.asked) == 10
    assert (tmp_path / "out" / "before" / "1" / "journal.jsonl").is_file()
    assert (tmp_path / "out" / "before" / "1" / "preferences").is_dir()


def test_what_only_says_how_verdicts_are_read_may_change_and_nothing_is_asked(label, rows_of) -> None:
    judge = Telling(lambda its: [Score(0.01 * value.value) for value in longer(its)])
    label({"main": judge})
    assert rows_of("preferences")[0]["probability"] == pytest.approx(0.5025)
    label({"main": judge}, label={"tie": 0.01})
    with pytest.raises(FileNotFoundError):
        rows_of("preferences")
    label({"main": judge}, label={"tie": 0.01, "ties": "keep", "probability": "logistic"})
    assert [row["tie"] for row in rows_of("preferences")] == [True] * 5
    assert len(judge.asked) == 5


def test_scores_beyond_one_are_no_probabilities_unless_they_are_log_odds(label, rows_of) -> None:
    judge = Telling(lambda its: [Score(4 * value.value) for value in longer(its)])
    with pytest.raises(ConfigError, match=r'4 apart, which is no probability.*"logistic"'):
        label({"main": judge})
    label({"main": judge}, label={"probability": "logistic"})
    assert rows_of("preferences")[0]["probability"] == pytest.approx(1 / (1 + 2.718281828459045**-4))
    assert len(judge.asked) == 5


def test_a_folder_that_holds_something_else_is_refused(label, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists and is not empty; choose another folder with --out"):
        label({"main": Telling(longer)})


def test_critiques_and_revisions_make_chains_and_a_text_is_paid_for_once(label, rows_of, principles) -> None:
    judge, backend = language(shares, cost=1.0)
    report = label({"main": judge}, ["critiques", "revisions"], label={"constitution": principles, "rounds": 2})
    rows = rows_of("revisions")
    assert [row["id"] for row in rows[:2]] == ["p0/0", "p0/1"]
    assert rows[0]["answer"] == "short 0"
    assert rows[0]["completion"] == "A kind answer."
    step = {"name": "kind", "principle": "What is unkind?", "critique": "It is unkind.", "revision": "A kind answer."}
    assert rows[0]["chain"] == [step, step]
    assert (rows[0]["cost"], rows[0]["cut"]) == (4.0, False)
    assert rows_of("critiques")[0]["critique"] == "It is unkind."
    assert len(backend.asked) == 10 * 2 * 2 == sum(its["calls"] for its in report["labels"])
    second = [request for request in backend.asked if "A kind answer." in request.messages[-1].content]
    assert len(second) == 20  # the second round is about the first one's revisions


def test_a_broken_chain_is_no_label_and_goes_on_where_it_broke(label, rows_of, principles, tmp_path: Path) -> None:
    down = True

    def choose(request):
        revising = "critique alone" not in request.messages[-1].content
        return Failed("down") if down and revising and "short 1\n" in request.messages[-1].content else shares(request)

    judge, backend = language(choose)
    options = {"constitution": principles, "max_failed": 0.5}
    label({"main": judge}, ["revisions"], label=options)
    assert "p1/0" not in [row["id"] for row in rows_of("revisions")]
    assert json.loads((tmp_path / "out" / "failures.jsonl").read_text())["id"] == "p1"
    before, down = len(backend.asked), False
    label({"main": judge}, ["revisions"], label=options)
    assert len(rows_of("revisions")) == 10
    assert len(backend.asked) == before + 1


def test_who_cannot_write_is_told_before_anybody_is_asked(label, principles) -> None:
    judge = Telling(longer)
    with pytest.raises(ConfigError, match=r"judge 'main' \(Telling\) writes no texts.*critiques or revisions"):
        label({"main": judge}, ["preferences", "revisions"], label={"constitution": principles})
    assert not judge.asked


def test_answers_are_drawn_once_by_seed_where_none_are_recorded(label, rows_of, tmp_path: Path) -> None:
    rows = [{"prompt": "is it red"}, {"prompt": "yes or no"}]
    tables = {"policy": {"use": "tiny"}, "answers": {"samples": 3, "max_tokens": 4}}
    down = [True]

    def say(question: rl.Question):
        if down:
            raise ConnectionError
        return longer(question)

    with pytest.raises(ConnectionError):
        label({"main": Telling(say)}, ["scores"], rows, **tables)
    journal = (tmp_path / "out" / "journal.jsonl").read_bytes()
    down.clear()
    label({"main": Telling(say)}, ["scores"], rows, **tables)
    assert (tmp_path / "out" / "journal.jsonl").read_bytes().startswith(journal)
    drawn = [row["answers"] for row in rows_of("scores")]
    assert json.loads(journal.splitlines()[0])["answers"] == drawn[0]
    label({"main": Telling(say)}, ["scores"], rows, anew=True, **tables)
    assert [row["answers"] for row in rows_of("scores")] == drawn


def test_an_account_that_a_judge_keeps_is_gone_on_with(label) -> None:
    class Accounted(Telling):
        account = "first"

        def state_dict(self):
            return {"account": self.account}

        def load_state_dict(self, state):
            self.account = state["account"]

    label({"main": Accounted(longer)})
    other = Accounted(longer)
    other.account = "second"
    label({"main": other})
    assert other.account == "first"


@pytest.mark.parametrize("when", ["stop", "abstain"])
def test_a_spent_budget_is_gone_on_with_by_a_larger_one_and_no_call_is_paid_twice(
    label, rows_of, tmp_path, when
) -> None:
    backend = Scripted(shares, cost=1.0)

    def judge(calls: int) -> Accountable:
        economy = Economy(cache=str(tmp_path / "cache.sqlite"), budget_calls=calls, when_spent=when)
        return Accountable(backend, "main", Hygiene(), economy, priced=True)

    if when == "stop":
        with pytest.raises(FeedbackError, match="the budget of judge 'main' is spent") as caught:
            label({"main": judge(5)})
        assert "kept in" in caught.value.__notes__[-1]
    else:
        report = label({"main": judge(5)})
        assert (report["labels"][0]["labelled"], report["labels"][0]["abstained"]) == (2, 3)
    assert len(backend.asked) == 5
    report = label({"main": judge(10)})
    assert len(rows_of("preferences")) == 5
    assert len(backend.asked) == 10
    assert (report["labels"][0]["abstained"], report["labels"][0]["failed"]) == (0, 0)


@pytest.mark.parametrize("cached", [False, True])
def test_a_server_that_goes_down_stops_it_and_what_it_had_answered_stands(label, rows_of, tmp_path, cached) -> None:
    answered: list[str] = []
    down = True

    def verdict(seen: Seen) -> Answer:
        if down and len(answered) >= 9:
            return error(500, "on fire")
        answered.append(seen.body["messages"][-1]["content"])
        return scored({"A": 0.7, "B": 0.3})

    rows = [{"id": f"p{n}", "prompt": f"{n}?", "answers": ["a", "b"]} for n in range(12)]
    with FaultyServer(verdict) as server:
        table = {"use": "openai", "base_url": server.url, "model": "m", "read": "logprobs", "concurrency": 2}
        table |= {"retries": 1, "patience": 0.3, "cache": str(tmp_path / "cache.sqlite") if cached else ""}
        how = {"label": {"batch": 2, "ties": "keep"}, "asking": {"main": table}}
        with pytest.raises(FeedbackError, match=r"of the last 6 questions to judge 'main' failed.*on fire"):
            label({}, rows=rows, **how)
        assert not (tmp_path / "out" / "preferences").exists()
        down = False
        report = label({}, rows=rows, **how)
    assert len(rows_of("preferences")) == 12
    assert report["labels"][0]["failed"] == 0
    twice = len(answered) - len(set(answered))
    assert twice == 0 if cached else twice <= 1  # one order of a pair whose other order failed, where nothing keeps it
