"""One GRPO step of TRL's `GRPOTrainer`, timed: the peer that `bench_step.py` runs in turn with this project.

TRL lives in an environment of its own:

    python -m venv peer && peer/bin/pip install torch==2.13.0 trl==1.16.0 psutil
    peer/bin/python benches/peer_trl_grpo.py --model FOLDER --threads 1

The answer is one JSON object on stdout; everything TRL says goes to stderr. Phases are timed by wrapping five
methods of the trainer, about a dozen clock reads a step, and a step runs from one `on_step_end` to the next, so that
what TRL does between its phases is counted under `other`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

PHASES = ("generation", "reference", "forward", "backward", "optimiser")
QUESTIONS = (
    "My tomato plants have yellow leaves at the bottom. What should I check first, and how often do I water them?",
    "Could you explain to a ten year old why the sky is blue in the day and red in the evening?",
    "I have two hours in the old town this afternoon. Which places would you walk past, and in which order?",
    "Please help me write a short and friendly note to thank a neighbour who looked after my cat.",
)


def arguments() -> argparse.Namespace:
    real_data = Path(os.environ.get("RLAIF_REAL_DATA", Path(__file__).resolve().parents[2] / "shared"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=real_data / "models" / "tiny-chat")
    parser.add_argument("--prompts", type=int, default=2, choices=range(1, len(QUESTIONS) + 1))
    parser.add_argument("--group", type=int, default=8, help="completions a prompt")
    parser.add_argument("--tokens", type=int, default=64, help="new tokens a completion, exactly")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="timed steps, after the warm-up")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--beta", type=float, default=0.04, help="weight of the KL to the reference")
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--attention", default="sdpa", help="attn_implementation")
    parser.add_argument("--cache", default=None, help="cache_implementation of generate, e.g. static")
    parser.add_argument("--continuous", action="store_true", help="generate by transformers' continuous batching")
    parser.add_argument("--bf16", action="store_true", help="TRL's default autocast; off for a comparison in float32")
    parser.add_argument("--ban-eos", choices=("suppress", "minimum"), default="suppress")
    parser.add_argument("--lockstep", action="store_true", help="after each step say so and wait for a line on stdin")
    parser.add_argument("--profile", type=Path, help="write a cProfile of the timed steps here (slows them)")
    return parser.parse_args()


class Stopwatch:
    """Wall and processor seconds by phase, one row a step; phases are wrapped methods and never nest.

    What is timed `aside` may lie within phases or around them. In `lockstep` each lap is said aloud, and the clock
    stands still until a line on stdin asks for the next, so that two programs can take steps in turn.
    """

    def __init__(self, aside: Sequence[str] = (), lockstep: bool = False) -> None:
        self.rows: list[dict[str, float]] = []
        self._lockstep = lockstep
        self._zeros = dict.fromkeys((*PHASES, *aside), 0.0)
        self._row = dict(self._zeros)
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def wrap(self, owner: Any, method: str, phase: str | Callable[..., str | None]) -> None:
        """Time every call of `owner.method`; `phase` may choose by the call's arguments, None for not at all."""
        inner = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            name = phase(*args, **kwargs) if callable(phase) else phase
            start = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                if name is not None:
                    self._row[name] += time.perf_counter() - start

        setattr(owner, method, timed)

    def lap(self) -> None:
        """End a step: whatever no phase claimed is `other`."""
        wall, processor = time.perf_counter(), time.process_time()
        row = {"wall": wall - self._wall, "processor": processor - self._processor, **self._row}
        row["other"] = row["wall"] - sum(row[phase] for phase in PHASES)
        self.rows.append(row)
        self._row = dict(self._zeros)
        if self._lockstep:
            assert sys.__stdout__ is not None
            print("step", file=sys.__stdout__, flush=True)
            sys.stdin.readline()
        self._wall, self._processor = time.perf_counter(), time.process_time()


def summary(values: list[float]) -> dict[str, float]:
    """Median, 10th and 90th percentile, in the unit of `values`."""
    deciles = statistics.quantiles(values, n=10, method="inclusive")
    return {"median": statistics.median(values), "p10": deciles[0], "p90": deciles[-1]}


def length_reward(completions: list[Any], **_: Any) -> list[float]:
    """Characters of the answer in hundreds: as cheap as a reward gets, and different for each answer."""
    return [len(completion[-1]["content"]) / 100 for completion in completions]


def grpo_config(options: argparse.Namespace, folder: str) -> Any:
    """TRL's settings for the comparison: plain GRPO in float32, one update a generation, nothing written or sent."""
    from trl import GRPOConfig

    ban = {"suppress_tokens": [options.eos]} if options.ban_eos == "suppress" else {"min_new_tokens": options.tokens}
    return GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=options.bf16,
        gradient_checkpointing=False,
        per_device_train_batch_size=options.prompts * options.group,
        gradient_accumulation_steps=1,
        num_generations=options.group,
        num_iterations=1,
        max_completion_length=options.tokens,
        generation_kwargs=ban,
        cache_implementation=options.cache,
        use_transformers_continuous_batching=options.continuous,
        temperature=1.0,
        beta=options.beta,
        loss_type="grpo",
        scale_rewards="group",
        learning_rate=options.lr,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_steps=options.warmup + options.steps,
        seed=options.seed,
        model_init_kwargs={"dtype": "float32", "attn_implementation": options.attention},
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def build_trainer(options: argparse.Namespace, folder: str) -> Any:
    """The trainer and its dataset: the same few prompts every step."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOTrainer

    tokeniser = AutoTokenizer.from_pretrained(options.model, padding_side="left")
    options.eos = tokeniser.eos_token_id
    rows = [{"prompt": [{"role": "user", "content": question}]} for question in QUESTIONS[: options.prompts]]
    return GRPOTrainer(
        model=str(options.model),
        reward_funcs=length_reward,
        args=grpo_config(options, folder),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokeniser,
    )


def watch(trainer: Any, options: argparse.Namespace) -> tuple[Stopwatch, dict[str, list[Any]]]:
    """Attach the stopwatch and the observations that prove what was done: shapes, losses, reference log-probs."""
    from transformers import TrainerCallback

    stopwatch = Stopwatch(lockstep=options.lockstep)
    seen: dict[str, list[Any]] = {"prompt_tokens": [], "tokens": [], "loss": [], "reference": []}

    class Laps(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            stopwatch.lap()

    inner_loss = trainer.compute_loss

    def observed_loss(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss = inner_loss(model, inputs, *args, **kwargs)
        seen["prompt_tokens"].append(inputs["prompt_mask"].sum(1).tolist())
        seen["tokens"].append(inputs["completion_mask"].sum(1).tolist())
        seen["loss"].append(float(loss.detach()))
        seen["reference"].append(float(inputs["ref_per_token_logps"].mean()))
        return loss

    trainer.compute_loss = observed_loss
    stopwatch.wrap(trainer, "_generate_single_turn", "generation")
    stopwatch.wrap(
        trainer,
        "_get_per_token_logps_and_entropies",
        lambda model, *_, **__: "reference" if model is trainer.ref_model else None,
    )
    stopwatch.wrap(trainer, "compute_loss", "forward")
    stopwatch.wrap(trainer.accelerator, "backward", "backward")
    stopwatch.wrap(trainer.accelerator, "clip_grad_norm_", "optimiser")
    trainer.create_optimizer_and_scheduler(num_training_steps=trainer.args.max_steps)
    stopwatch.wrap(trainer.optimizer, "step", "optimiser")
    trainer.add_callback(Laps())
    return stopwatch, seen


@contextlib.contextmanager
def profiled(path: Path | None) -> Iterator[None]:
    if path is None:
        yield
        return
    import cProfile

    profile = cProfile.Profile()
    with profile:
        yield
    profile.dump_stats(path)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train warm-up and timed steps, check that the work asked for was done, and give the figures."""
    import psutil
    import torch
    import transformers
    import trl

    torch.set_num_threads(options.threads)
    process = psutil.Process()
    memory = {"imported": process.memory_info().rss}
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(options, folder)
        before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
        stopwatch, seen = watch(trainer, options)
        memory["built"] = process.memory_info().rss
        with profiled(options.profile):
            trainer.train()
    memory["peak"] = peak_memory()
    rows = stopwatch.rows[options.warmup :]
    moved = max(float((p.detach() - b).abs().max()) for p, b in zip(trainer.model.parameters(), before, strict=True))
    batch = options.prompts * options.group
    if any(counts != [options.tokens] * batch for counts in seen["tokens"]):
        raise SystemExit(f"not every completion has {options.tokens} tokens: {seen['tokens']}")
    if not (moved > 0 and all(map(math.isfinite, seen["loss"] + seen["reference"])) and len(rows) == options.steps):
        raise SystemExit(f"the steps did not train: parameters moved {moved}, losses {seen['loss']}")
    wall = summary([row["wall"] for row in rows])
    return {
        "who": f"trl {trl.__version__}",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()},
        "work": {
            "completions": batch,
            "tokens": seen["tokens"][-1],
            "prompt_tokens": seen["prompt_tokens"][-1],
            "loss": seen["loss"],
            "reference_logp": seen["reference"],
            "moved": moved,
        },
        "rows": rows,
        "seconds": {name: summary([row[name] for row in rows]) for name in rows[0]},
        "tokens_per_second": batch * options.tokens / wall["median"],
        "memory_bytes": memory,
        "threads": torch.get_num_threads(),
    }


def peak_memory() -> int:
    """Largest resident size this process has had, in bytes."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def main() -> None:
    options = arguments()
    os.environ.update(OMP_NUM_THREADS=str(options.threads), TOKENIZERS_PARALLELISM="false")
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1", CUDA_VISIBLE_DEVICES="")
    with contextlib.redirect_stdout(sys.stderr):
        figures = measure(options)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
