"""The page of a run: right numbers, hostile texts, odd runs; in a browser where there is one."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from pyarrow.parquet import write_table

from rlaif_core.errors import DataError, RlaifError
from rlaif_core.feedback import Abstain, Failed, Feedback, Outcome, Score
from rlaif_core.record import Record, read_metrics, read_rollouts
from rlaif_core.types import Experience, Metrics, Prompt, Rollouts
from rlaif_report.page import charts, contents, write_report

CONFIG = """\
[run]
seed = 7
steps = {steps}
out = "{out}"

[policy]
use = "transformers"
model = "Qwen/Qwen3-0.6B"

[prompts]
dataset = "json"
files = "prompts.jsonl"
batch = 6
group = 4

[judges.main]
use = "openai"
base_url = "http://localhost:8000/v1"
model = "judge"

[[rewards]]
use = "judge"
judge = "main"
rubric = "rubrics/helpful.md"

[[rewards]]
use = "length"
name = "brevity"
weight = 0.5

[[rewards]]
use = "toxicity"
channel = "cost:toxicity"

[credit]
use = "group"

[optimiser]
use = "constrained"
inner = "grpo"
limits = {{ toxicity = 0.05 }}
lr = 1e-6
"""
LOCK = """\
[[offers]]
part = "reward 'judge'"
origin = "rlaif-core 0.1.0 (builtins)"

[[offers]]
part = "optimiser 'constrained'"
origin = "rlaif-constrained 0.3.1 (constrained)"
"""

# Each question with a good and a careless answer.
QUESTIONS = {
    "How do I get wax out of a carpet?": (
        "Freeze it with ice, then scrape; iron the rest through paper.",
        "Lol just buy a new one.",
    ),
    "My friend hasn't answered in a week. Did I do something wrong?": (
        "I can't know from here. A short, kind note costs little: 'Thinking of you, no need to answer.'",
        "Yes, obviously. People ignore you when you annoy them.",
    ),
    "Which year did the Lumen observatory open?": (
        "I don't know; I have no record of it.",
        "It opened in 1874, in Geneva.",
    ),
    "Summarise: the cat sat on the mat because the floor was cold.": (
        "The cat chose the mat over a cold floor.",
        "A cat.",
    ),
    "Is it safe to take ibuprofen with red wine?": (
        "One glass with one tablet is unlikely to harm most people, but both irritate the stomach. "
        "With ulcers, kidney trouble or blood thinners, don't; ask a pharmacist.",
        "sure why not. sure why not. sure why not. sure why not.",
    ),
    "Write a line of verse about rain.": (
        "Rain practises scales on the roof all night.",
        "Rain is rain rain rain rain",
    ),
    "Explain recursion to a child.": (
        "Stand between two mirrors: each mirror shows the other, and you, smaller. Recursion is a thing that asks "
        "a smaller copy of itself for help, until it is small enough to be easy.",
        "Recursion is recursion.",
    ),
    "Wie spät ist es in Tokio, wenn es in Berlin Mittag ist?": (
        "Im Winter 20 Uhr, im Sommer 19 Uhr.",
        "Tokio ist in Japan.",
    ),
    "ما هي عاصمة أستراليا؟": ("كانبرا.", "سيدني."),
}


def experience(
    step: int, texts: Sequence[tuple[str, str]], said: dict[str, Sequence[Outcome]], group: int
) -> Experience:
    """One step's answers, as (prompt, completion), `group` to a prompt."""
    rows, longest = len(texts), max(len(text.split()) for _, text in texts) + 2
    mask = torch.zeros(rows, longest, dtype=torch.bool)
    for row, (_, text) in enumerate(texts):
        mask[row, 1 : len(text.split()) + 2] = True
    rollouts = Rollouts(
        prompts=tuple(
            Prompt(id=f"q{abs(hash(prompt)) % 10**6}" if not prompt else prompt[:24], text=prompt)
            for prompt, _ in texts
        ),
        completions=tuple(text for _, text in texts),
        tokens=torch.ones(rows, longest, dtype=torch.int64),
        attend=torch.ones(rows, longest, dtype=torch.bool),
        mask=mask,
        logp=torch.where(mask, -0.7, 0.0),
        group=torch.arange(rows) // group,
        finish=tuple("length" if len(text) > 150 else "stop" for _, text in texts),
        policy_version=step,
    )
    channels = {"toxicity": "cost:toxicity"} if "toxicity" in said else {}
    weights = {"brevity": 0.5} if "brevity" in said else {}
    feedback = Feedback(outcomes={name: tuple(its) for name, its in said.items()}, channels=channels, weights=weights)
    values, counted = feedback.totals(rollouts.group)
    advantages = torch.where(mask, (values - values.mean())[:, None], 0.0)
    return Experience(rollouts=rollouts, feedback=feedback, advantages={"reward": advantages}, counted=counted)


def judge(good: bool, luck: random.Random) -> Outcome:
    draw = luck.random()
    if draw < 0.008:
        return Failed("the judge did not answer within 30 s")
    if draw < 0.03:
        return Abstain("the answer cannot be checked against the rubric")
    value = min(1.0, max(0.0, luck.gauss(0.82 if good else 0.15, 0.12)))
    told = "Direct, correct and considerate." if good else "Careless: it neither answers nor cares."
    return Score(round(value, 3), told, 0.0004)


def make_run(folder: Path, steps: int = 24, *, wanted: int | None = None, group: int = 4, prompts: int = 6) -> Path:
    """A run that learns to answer well, drifts from where it began, and loses a verdict now and then."""
    luck = random.Random(11)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(CONFIG.format(steps=wanted or steps, out=folder), encoding="utf-8")
    (folder / "plugins.lock.toml").write_text(LOCK, encoding="utf-8")
    record = Record(folder, steps=steps, progress=False, tensorboard=False)
    for step in range(1, steps + 1):
        skill = 0.12 + 0.76 / (1 + math.exp(-9 * (step / steps - 0.42)))
        asked = [question for question in luck.sample(list(QUESTIONS), prompts) for _ in range(group)]
        good = [luck.random() < skill for _ in asked]
        texts = [(question, QUESTIONS[question][0 if well else 1]) for question, well in zip(asked, good, strict=True)]
        said = {
            "judge": [judge(well, luck) for well in good],
            "brevity": [Score(round(1 / (1 + len(text) / 80), 3)) for _, text in texts],
            "toxicity": [Score(round(luck.betavariate(1, 12 if well else 4), 3)) for well in good],
        }
        its = experience(step, texts, said, group)
        values, counted = its.feedback.totals(its.rollouts.group)
        record.step(
            step, its, Metrics(measured(its, skill, step, steps, luck) | {"reward": float(values[counted].mean())})
        )
    record.close()
    return folder


def measured(its: Experience, skill: float, step: int, steps: int, luck: random.Random) -> dict[str, float]:
    sources = {}
    for name, said in its.feedback.outcomes.items():
        scores = [outcome.value for outcome in said if isinstance(outcome, Score)]
        sources[f"reward/{name}"] = sum(scores) / len(scores)
    tokens = float(its.rollouts.mask.sum())
    return {
        **sources,
        "cost/toxicity": sources.get("reward/toxicity", 0.0),
        "kl": 0.9 * (skill - 0.12) ** 1.5 * luck.lognormvariate(0, 0.12) + 0.001,
        "entropy": 2.1 - 1.1 * skill + luck.gauss(0, 0.05),
        "length": tokens / len(its.rollouts),
        "failed": its.feedback.fraction(Failed),
        "abstained": its.feedback.fraction(Abstain),
        "truncated": sum(finish == "length" for finish in its.rollouts.finish) / len(its.rollouts),
        "loss": luck.gauss(0, 0.02) - 0.03 * skill,
        "grad_norm": luck.lognormvariate(-0.6, 0.4),
        "clip_fraction": max(0.0, luck.gauss(0.04, 0.015)),
        "lr": 1e-6,
        "multiplier/toxicity": max(0.0, 0.8 - step / steps),
        "seconds": luck.gauss(3.4, 0.2),
        "tokens_per_second": tokens / 3.4,
    }


@pytest.fixture(scope="session")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 24 steps with its report."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "first")
    write_report(folder)
    return folder


class Page(HTMLParser):
    """The elements of a page with their attributes, and what is written in the scripts and outside them."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.source = (folder / "report.html").read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    @property
    def ledger(self) -> dict[str, list[object]]:
        found: dict[str, list[object]] = json.loads(self.scripts[0])
        return found


def a_step(folder: Path, said: dict[str, Sequence[Outcome]], texts: Sequence[tuple[str, str]] = ()) -> Path:
    """A run of a single step with two answers."""
    record = Record(folder, steps=1, progress=False, tensorboard=False)
    record.step(
        1, experience(1, texts or [("Why?", "because"), ("Why?", "so")], said, 2), Metrics({"reward": 0.25, "kl": 0.5})
    )
    record.close()
    return folder


def test_the_headline_is_what_was_recorded(learnt: Path) -> None:
    metrics, rows = read_metrics(learnt), read_rollouts(learnt).to_pylist()
    found = {it.label: it for it in contents(learnt)["headlines"]}
    first, last = (sum(line["reward"] for line in part) / 4 for part in (metrics[:4], metrics[-4:]))
    assert (found["Reward"].before, found["Reward"].value) == (f"{first:.3f}", f"{last:.3f}")
    assert found["Reward"].note == f"+{last - first:.3f}, first to last 4 steps"
    assert found["KL"].value == f"{sum(line['kl'] for line in metrics[-4:]) / 4:.3f}"
    assert (found["Steps"].value, found["Steps"].note) == ("24", "of 24")
    assert found["Tokens"].value == f"{sum(row['tokens'] for row in rows):,}"
    assert found["Tokens"].note == "in 576 answers"
    assert found["Failed"].value == f"{100 * sum(line['failed'] for line in metrics) / 24:.1f} %"


def test_the_page_is_whole_without_network_or_script(learnt: Path) -> None:
    page = Page(learnt)
    assert len(page.source.encode()) < 5_000_000
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "iframe", "object", "embed", "base", "form"}
    assert [its for tag, its in page.elements if tag == "link"] == [{"rel": "icon", "href": "data:,"}]
    assert not [its for _, its in page.elements if {"src", "onclick", "onload", "action"} & its.keys()]
    assert not re.search(r"url\(|@import", page.source)
    curves = [its["d"] for tag, its in page.elements if tag == "path" and its["class"] == "smooth"]
    assert len(curves) == 3 + len(contents(learnt)["small"])
    assert all(curve and curve.count("L") == 23 for curve in curves)
    for text in ("0.5 × brevity", "Qwen/Qwen3-0.6B", "Direct, correct and considerate.", "rlaif-constrained 0.3.1"):
        assert text in page.text
    assert "Stopped" not in page.text


def test_only_the_script_of_the_page_may_run(learnt: Path) -> None:
    page = Page(learnt)
    assert len(page.scripts) == 2
    policy = next(its["content"] for tag, its in page.elements if its.get("http-equiv") == "Content-Security-Policy")
    sum_of_script = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{sum_of_script}'" in policy
    assert "default-src 'none'" in policy


def test_every_outcome_of_a_small_run_is_in_its_table(learnt: Path) -> None:
    page = Page(learnt)
    assert len(page.ledger["answers"]) == read_rollouts(learnt).num_rows == 576
    assert page.ledger["sources"] == ["brevity", "judge", "toxicity"]
    assert "all 576 answers" in page.text


def test_prompts_asked_twice_stand_side_by_side(learnt: Path) -> None:
    pairs = contents(learnt)["pairs"]
    assert len(pairs) == 6
    for pair in pairs:
        assert pair.same
        assert pair.before.step <= 8 < 16 < pair.after.step
    assert pairs[0].change.startswith("+")


HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
    "\" autofocus onfocus='document.title=1' {{ 7 * 7 }} {% raw %} \u202egnp.exe\u200b\ud800 <!-- ]]>"
)


def hostile(folder: Path) -> Path:
    folder = folder / "<b onload=x>&"
    folder.mkdir()
    (folder / "config.toml").write_text(f"[policy]\nmodel = {json.dumps(HOSTILE[:80])}\n# {HOSTILE[:80]}\n")
    (folder / "plugins.lock.toml").write_text(f"[[offers]]\npart = {json.dumps(HOSTILE[:80])}\norigin = 3\n")
    said = {"</script><b>": [Score(1.0, HOSTILE), Failed(HOSTILE)], "judge": [Score(0.0), Score(1.0)]}
    prompt = "Why " + HOSTILE.replace("\ud800", "")
    a_step(folder, said, [(prompt, HOSTILE), (prompt, "<b>no</b>")])
    with (folder / "metrics.jsonl").open("a") as lines:
        lines.write(json.dumps({"step": 2, "reward": 1.0, "<script>": 1.0, "kl": 0.7}) + "\n")
        lines.write(json.dumps({"step": 3, "reward": 2.0, "<script>": 4.0, "kl": 0.9}) + "\n")
    write_report(folder)
    return folder


def test_hostile_texts_are_only_ever_texts(tmp_path: Path) -> None:
    page = Page(hostile(tmp_path))
    assert len(page.scripts) == 2
    assert not {tag for tag, _ in page.elements} & {"img"}
    assert not [its for _, its in page.elements if {"onerror", "onfocus", "onload", "autofocus"} & its.keys()]
    assert not re.search("[\u202e\u200b\ud800]", page.source)
    assert "⟦U+202E⟧gnp.exe⟦U+200B⟧\ufffd" in page.text
    assert "{{ 7 * 7 }} {% raw %}" in page.text
    assert "</script><img" not in page.source
    assert page.ledger["sources"] == ["</script><b>", "judge"]


def test_a_run_that_died_says_so_and_how_to_go_on(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "died", 3, wanted=200, prompts=2, group=2)
    write_report(folder)
    assert "Stopped after step 3 of 200, or still running. It left no checkpoint." in Page(folder).text
    for step in (1, 2, 10):
        (folder / "checkpoints" / f"step-{step}").mkdir(parents=True)
    (folder / "checkpoints" / ".step-11.tmp").mkdir()
    write_report(folder)
    assert f"To go on from step 10: rlaif resume {folder}" in Page(folder).text


def test_a_run_before_its_first_step(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG.format(steps=5, out="x"))
    write_report(tmp_path)
    page = Page(tmp_path)
    assert "No step has been recorded yet." in page.text
    assert "Stopped after step 0 of 5" in page.text
    assert "Who said what" not in page.text


def test_metrics_without_answers(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "reward": step / 10}) for step in range(1, 4)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 4, "rew')
    write_report(tmp_path)
    page = Page(tmp_path)
    assert "No answers are recorded in rollouts/." in page.text
    assert "0.100 → 0.300" in re.sub(r"\s+", " ", page.text)


def test_a_single_step_has_numbers_but_no_curves(tmp_path: Path) -> None:
    write_report(a_step(tmp_path, {"judge": [Score(0.5, "fair"), Score(0.0, "thin")]}))
    page = Page(tmp_path)
    assert "Curves need at least two steps." in page.text
    assert not [tag for tag, _ in page.elements if tag == "path"]
    assert "→" not in page.text
    assert "Before and after" not in page.text
    assert "fair" in page.text


def test_a_run_in_which_nothing_was_scored(tmp_path: Path) -> None:
    record = Record(tmp_path, steps=2, progress=False, tensorboard=False)
    for step in (1, 2):
        said: dict[str, Sequence[Outcome]] = {"judge": [Failed("the judge is down"), Abstain("not my field")]}
        metrics = Metrics({"reward": 0.0, "failed": 0.5, "abstained": 0.5})
        record.step(step, experience(step, [("Why?", "because"), ("Why?", "so")], said, 2), metrics)
    record.close()
    write_report(tmp_path)
    page = Page(tmp_path)
    assert "Nothing changed between the steps." in page.text
    assert "no reward" in page.text
    assert "the judge is down" in page.text
    assert page.ledger["answers"][0][5] == [[0, "failed", None, "the judge is down"]]  # type: ignore[index]
    assert "Best and worst" not in page.text


def test_hundreds_of_thousands_of_answers_are_sampled(tmp_path: Path) -> None:
    (tmp_path / "rollouts").mkdir()
    said = {"judge": {"kind": "score", "value": 0.5, "reason": "plausible " * 20}}
    row = {
        "prompt_id": "a", "prompt": "Why?", "sample": 0, "completion": "because <it> is so & " * 40, "finish": "stop",
        "tokens": 7, "logp": -1.0, "reward": 0.5, "advantage": 0.0, "counted": True, "outcomes": json.dumps(said),
    }  # fmt: skip
    table = pa.Table.from_pylist([{"step": 0, **row}] * 2000, schema=read_rollouts(tmp_path).schema)
    for step in range(1, 151):
        mine = table.set_column(0, "step", pa.array([step] * 2000))
        write_table(mine, tmp_path / "rollouts" / f"step-{step:06d}.parquet")
    (tmp_path / "metrics.jsonl").write_text(
        "".join(f'{{"step": {step}, "reward": {step}}}\n' for step in range(1, 151))
    )
    path = write_report(tmp_path)
    page = Page(tmp_path)
    assert 2_000_000 < path.stat().st_size < 5_000_000
    steps = [answer[0] for answer in page.ledger["answers"]]  # type: ignore[index]
    assert len(set(steps)) == 150
    assert f"{len(steps):,} of 300,000 answers, sampled evenly over the steps" in page.text
    assert next(it.value for it in contents(tmp_path)["headlines"] if it.label == "Tokens") == "2.10 M"


def test_a_damaged_config_is_shown_and_damaged_answers_are_named(tmp_path: Path) -> None:
    a_step(tmp_path, {"judge": [Score(0.5), Score(0.0)]})
    (tmp_path / "config.toml").write_text("[run\nsteps = 5")
    (tmp_path / "plugins.lock.toml").write_text("offers = 3")
    write_report(tmp_path)
    assert "[run\nsteps = 5" in Page(tmp_path).text
    (tmp_path / "rollouts" / "step-000001.parquet").write_bytes(b"PAR1 torn PAR1")
    with pytest.raises(DataError, match=r"step-000001\.parquet is damaged .*restore the file, or delete it"):
        write_report(tmp_path)


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(RlaifError, match=r"cannot write .*report\.html"):
        write_report(tmp_path)


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """
const seen = {};
const texts = (row) => [...row.cells].map((cell) => cell.textContent);
const rows = () => [...document.querySelectorAll("tbody tr")].map(texts);
const where = () => document.getElementById("where").textContent;
const set = (id, value) => {
  const input = document.getElementById(id);
  input.value = value;
  input.dispatchEvent(new Event("input"));
};
seen.all = [rows().length, where()];
document.getElementById("next").click();
seen.second = where();
set("kind", "failed");
seen.failed = [new Set(rows().map((row) => row[2])).size, rows()[0][2], where()];
set("kind", "");
set("source", "toxicity");
document.querySelector("[data-sort=value]").click();
seen.lowest = rows()[0].slice(0, 3);
set("source", "");
set("search", "PHARMACIST ibuprofen");
seen.searched = rows().every((row) => row[5].includes("pharmacist"));
set("search", "no such text");
seen.none = where();
const plot = document.querySelector(".plot");
plot.dispatchEvent(new KeyboardEvent("keydown", { key: "End" }));
seen.tip = plot.querySelector(".tip").textContent;
seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.body.replaceChildren(JSON.stringify(seen));
"""


def seen_in_browser(folder: Path, profile: Path, probe: str = "") -> str:
    """The page's elements after its scripts ran; with a probe, what that wrote, and no policy to keep it out."""
    page = folder / "report.html"
    if probe:
        source = re.sub("<meta http-equiv[^>]*>", "", page.read_text(encoding="utf-8"))
        page = folder / "probe.html"
        page.write_text(source.replace("</body>", f"<script>{probe}</script></body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = [
        str(BROWSER),
        *options,
        f"--user-data-dir={profile}",
        "--window-size=1280,900",
        "--dump-dom",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome to look with")
def test_the_page_works_in_a_browser(learnt: Path, tmp_path: Path) -> None:
    shown = seen_in_browser(learnt, tmp_path, PROBE)
    found = re.search(r"<body>(.*)</body>", shown, re.DOTALL)
    assert found is not None
    seen = json.loads(found[1])
    outcomes = [its for row in read_rollouts(learnt)["outcomes"].to_pylist() for its in json.loads(row).values()]
    failed = sum(its["kind"] == "failed" for its in outcomes)
    costs = [its["value"] for its in outcomes if its["channel"] == "cost:toxicity"]
    last = read_metrics(learnt)[-1]["reward"]
    assert failed > 0
    assert seen["all"] == [20, "1–20 of 1,728 outcomes"]
    assert seen["second"] == "21–40 of 1,728 outcomes"
    assert seen["failed"] == [1, "failed", f"1–{failed} of {failed} outcomes"]
    assert seen["lowest"][1:] == ["toxicity", f"{min(costs):.3f}"]
    assert seen["searched"] is True
    assert seen["none"] == "No outcome matches"
    assert seen["tip"].startswith(f"step 24: {last:.3f}, smoothed ")
    assert seen["wide"] <= 0


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome to look with")
def test_hostile_texts_do_nothing_in_a_browser(tmp_path: Path) -> None:
    shown = seen_in_browser(hostile(tmp_path), tmp_path / "profile")
    assert "<title>&lt;b onload=x&gt;&amp; · rlaif</title>" in shown
    assert shown.count("<tr tabindex") == 4
    assert "<img" not in re.sub(r"<script.*?</script>", "", shown, flags=re.DOTALL)


def test_what_a_canary_says_is_drawn_against_the_distance_where_one_sings() -> None:
    steps = [{"step": n, "reward": 1.0 * n, "kl": 0.5 * n, "canary/gold": 3.0 - (n - 3) ** 2} for n in range(1, 7)]
    drawn = charts(steps)
    assert drawn["canary"].title == "Canary against √KL"
    assert len(drawn["canary"].points) == 6
    assert drawn["small"][0].title == "canary/gold"
    assert drawn["frontier"].title == "Reward against √KL"
    assert (
        charts([{name: it for name, it in line.items() if name != "canary/gold"} for line in steps])["canary"] is None
    )
    some = [line if n % 2 else {"step": n, "reward": 1.0 * n, "kl": 0.5 * n} for n, line in enumerate(steps)]
    assert len(charts(some)["canary"].points) == 3
