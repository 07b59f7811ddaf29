"""What a run leaves on the disk, also when it is killed, resumed, or the disk refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rlaif_core.errors import DataError, RlaifError
from rlaif_core.feedback import Abstain, Failed, Feedback, Score
from rlaif_core.record import Record, read_metrics, read_rollouts, rendered, rollout_files
from rlaif_core.types import Experience, Metrics, Prompt, Rollouts


def experience(*, completions: tuple[str, ...] = ("yes", "no", "perhaps", ""), channel: str = "reward") -> Experience:
    """Two prompts with two answers each; three tokens, the last two chosen."""
    prompts = [Prompt(id="a", text="Is it?")] * 2 + [
        Prompt(id="b", messages=({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}))
    ] * 2
    mask = torch.tensor([[False, True, True]] * 3 + [[False, True, False]])
    rollouts = Rollouts(
        prompts=tuple(prompts),
        completions=completions,
        tokens=torch.ones(4, 3, dtype=torch.int64),
        attend=torch.ones(4, 3, dtype=torch.bool),
        mask=mask,
        logp=torch.where(mask, -0.5, 0.0),
        group=torch.tensor([0, 0, 1, 1]),
        finish=("stop", "stop", "length", "stop"),
    )
    feedback = Feedback(
        outcomes={
            "judge": (Score(1.0, "kind", 0.01), Score(0.0, "curt"), Abstain("unsure"), Abstain("unsure")),
            "tone": (Score(0.5), Score(0.25), Failed("timed out"), Score(1.0)),
        },
        weights={"tone": 2.0},
        channels={"judge": channel, "tone": channel},
    )
    return Experience(rollouts=rollouts, feedback=feedback, advantages={channel: torch.where(mask, 0.5, 0.0)})


def record_steps(folder: Path, first: int, last: int, *, steps: int = 6) -> None:
    folder.mkdir(exist_ok=True)
    record = Record(folder, steps=steps, start=first - 1, progress=False)
    for step in range(first, last + 1):
        record.step(step, experience(), Metrics({"reward": step / 10, "kl": 0.01 * step}))
    record.close()
    record.close()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads back."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    tags = events.Tags()["tensors"] + events.Tags()["scalars"]
    return {tag: [(event.step, round(event.value, 4)) for event in events.Scalars(tag)] for tag in tags}


def test_a_step_is_a_line_a_table_and_scalars(tmp_path: Path) -> None:
    record_steps(tmp_path, 1, 2)
    assert read_metrics(tmp_path) == [{"step": 1, "reward": 0.1, "kl": 0.01}, {"step": 2, "reward": 0.2, "kl": 0.02}]
    rows = read_rollouts(tmp_path).to_pylist()
    assert len(rows) == 8
    assert [row["step"] for row in rows] == [1] * 4 + [2] * 4
    assert [row["sample"] for row in rows[:4]] == [0, 1, 0, 1]
    assert [row["reward"] for row in rows[:4]] == [2.0, 0.5, None, 2.0]
    assert [row["tokens"] for row in rows[:4]] == [2, 2, 2, 1]
    assert [row["logp"] for row in rows[:4]] == [-1.0, -1.0, -1.0, -0.5]
    assert [row["advantage"] for row in rows[:4]] == [0.5] * 4
    assert rows[2]["prompt"] == "system: Be brief.\n\nuser: Why?"
    assert rows[2]["finish"] == "length"
    assert json.loads(rows[0]["outcomes"]) == {
        "judge": {"kind": "score", "value": 1.0, "reason": "kind", "cost": 0.01, "weight": 1.0, "channel": "reward"},
        "tone": {"kind": "score", "value": 0.5, "reason": "", "cost": 0.0, "weight": 2.0, "channel": "reward"},
    }
    said = json.loads(rows[2]["outcomes"])
    assert (said["judge"]["kind"], said["judge"]["value"], said["judge"]["reason"]) == ("abstain", None, "unsure")
    assert (said["tone"]["kind"], said["tone"]["value"], said["tone"]["reason"]) == ("failed", None, "timed out")
    assert scalars(tmp_path) == {"reward": [(1, 0.1), (2, 0.2)], "kl": [(1, 0.01), (2, 0.02)]}


def test_rollouts_can_be_read_by_column_and_before_the_first_step(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    assert read_rollouts(tmp_path).num_rows == 0
    assert "outcomes" in read_rollouts(tmp_path).column_names
    hive = tmp_path / "lr=3"
    record_steps(hive, 1, 1)
    assert read_rollouts(hive, columns=["step", "reward"]).column_names == ["step", "reward"]


def test_files_beyond_a_million_steps_stay_in_order(tmp_path: Path) -> None:
    record_steps(tmp_path, 999_999, 1_000_000, steps=1_000_000)
    assert list(rollout_files(tmp_path)) == [999_999, 1_000_000]
    assert read_rollouts(tmp_path, columns=["step"])["step"].to_pylist() == [999_999] * 4 + [1_000_000] * 4


def test_text_that_is_not_unicode_is_recorded_all_the_same(tmp_path: Path) -> None:
    record = Record(tmp_path, steps=1, progress=False)
    record.step(1, experience(completions=("\ud800 half", "\ud83d\ude00", "nul \0", "")), Metrics())
    record.close()
    texts = read_rollouts(tmp_path)["completion"].to_pylist()
    assert texts == ["\ufffd half", "\U0001f600", "nul \0", ""]


def test_a_channel_without_rewards_leaves_them_empty(tmp_path: Path) -> None:
    record = Record(tmp_path, steps=1, progress=False, tensorboard=False)
    record.step(1, experience(channel="cost:rude"), Metrics({"step": 7.0, "cost/rude": 0.5}))
    record.close()
    row = read_rollouts(tmp_path).to_pylist()[0]
    assert (row["reward"], row["advantage"], row["counted"]) == (None, None, True)
    assert read_metrics(tmp_path) == [{"step": 1, "cost/rude": 0.5}]
    assert not (tmp_path / "tensorboard").exists()


def test_a_single_message_is_rendered_without_its_role() -> None:
    assert rendered(Prompt(id="a", messages=({"role": "user", "content": "Why?"},))) == "Why?"


@pytest.mark.parametrize("at", range(4))
def test_rewinding_leaves_what_a_straight_run_leaves(tmp_path: Path, at: int) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    record_steps(straight, 1, 4)
    record_steps(resumed, 1, 3)
    with (resumed / "metrics.jsonl").open("ab") as lines:
        lines.write(b'{"step": 4, "rew')
    (resumed / "rollouts" / ".step-000004.parquet.77.tmp").write_bytes(b"PAR1")
    Record.rewind(resumed, at)
    assert len(read_metrics(resumed)) == at
    record_steps(resumed, at + 1, 4)
    for name in ("metrics.jsonl", *(f"rollouts/step-{step:06d}.parquet" for step in range(1, 5))):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes(), name
    assert sorted(path.name for path in (resumed / "rollouts").iterdir()) == [
        f"step-{step:06d}.parquet" for step in range(1, 5)
    ]
    assert scalars(resumed) == scalars(straight)


def test_a_torn_last_line_is_left_out_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    lines = tmp_path / "metrics.jsonl"
    for torn in (b'{"step": 2', b'{"step": 2}', b"\0\0\0", b"7\n", b"{}\n"):
        lines.write_bytes(b'{"step": 1}\n' + torn)
        assert read_metrics(tmp_path) == [{"step": 1}]
    lines.write_bytes(b'{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 2 is damaged; restore"):
        read_metrics(tmp_path)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_record import experience
from rlaif_core.record import Record
from rlaif_core.types import Metrics
record = Record(Path({folder!r}), steps=10**6, progress=False)
for step in range(1, 10**6):
    record.step(step, experience(), Metrics({{"reward": 1 / step}}))
"""


def test_a_kill_at_any_moment_leaves_whole_steps(tmp_path: Path) -> None:
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    for number in range(2):
        Record.rewind(tmp_path, 0)
        process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"})
        try:
            patience = time.monotonic() + 60
            while len(read_metrics(tmp_path)) < 5 + number and time.monotonic() < patience:
                assert process.poll() is None
                time.sleep(0.003 * (number + 1))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        steps = [line["step"] for line in read_metrics(tmp_path)]
        assert len(steps) >= 5
        assert steps == list(range(1, len(steps) + 1))
        assert list(rollout_files(tmp_path))[: len(steps)] == steps
        assert read_rollouts(tmp_path).num_rows >= 4 * len(steps)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_names_the_file_and_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    record = Record(tmp_path, steps=1, progress=False)
    with pytest.raises(RlaifError) as caught:
        record.step(1, experience(), Metrics({"reward": 1.0}))
    record.close()
    message = str(caught.value)
    assert message.startswith(f"cannot write {tmp_path / 'metrics.jsonl'} (No space left on device)")
    assert "what was saved before is intact; the disk is full: free some space and `rlaif resume`" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_at_the_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RlaifError, match=r"cannot write .*rollouts \(Permission denied\).*--out"):
        Record(tmp_path, steps=1, progress=False)
    tmp_path.chmod(0o700)


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(RlaifError, match=r"cannot write .*metrics\.jsonl \(Is a directory\)"):
        Record(tmp_path, steps=1, progress=False)


def test_recording_imports_rich_only_for_a_terminal_and_warns_of_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from rlaif_core.record import Record;"
        f"record = Record(Path({str(tmp_path)!r}), steps=1); record.close();"
        "sys.exit('rich' in sys.modules or 'torch.utils.tensorboard' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
