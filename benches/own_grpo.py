"""One GRPO step of this project, timed: what `bench_step.py` runs in turn with `peer_trl_grpo.py`.

A step is what a user gets from `rlaif_core.run`, ledger, metrics and TensorBoard included; it runs from one
`rlaif_step_finished` to the next. Phases are timed by wrapping functions, as for the peer, whose settings and stopwatch
are used here too. The answer is one JSON object on stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from peer_trl_grpo import QUESTIONS, Stopwatch, peak_memory, profiled, summary

import rlaif_core as rl

VERBS = ("act", "score", "credit", "update")
NEVER_DRAWN = "Ĳ"
"""A token that the model gives a probability of about 1e-6. As the end of a sequence it lets no answer end early, as
the peer's suppressed end token does; the run stops if it is drawn after all."""


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
    parser.add_argument("--kernels", default="auto", choices=("auto", "torch"))
    parser.add_argument("--microbatch", type=int, default=None)
    parser.add_argument("--lockstep", action="store_true", help="after each step say so and wait for a line on stdin")
    parser.add_argument("--profile", type=Path, help="write a cProfile of the whole run here (slows it)")
    return parser.parse_args()


def config_of(options: argparse.Namespace, folder: Path) -> rl.RunConfig:
    """The peer's settings in our words: the same model, loss, KL, clipping and optimiser, in float32."""
    steps = options.warmup + options.steps
    optimiser = {"use": "grpo", "kl": options.beta, "kl_gradient": "k3", "lr": options.lr}
    if options.microbatch:
        optimiser["microbatch"] = options.microbatch
    return rl.RunConfig.of(
        {
            "run": {
                "seed": options.seed,
                "steps": steps,
                "save_every": 0,
                "out": str(folder / "run"),
                "kernels": options.kernels,
            },
            "policy": {"model": str(options.model), "device": "cpu", "eos": NEVER_DRAWN},
            "prompts": {"column": "messages", "batch": options.prompts, "group": options.group, "shuffle": False},
            "actions": [{"use": "sample", "max_tokens": options.tokens}],
            "credit": {"use": "group", "unbiased": True},
            "optimiser": optimiser,
        }
    )


@rl.reward
def characters(_prompt: rl.Prompt, completion: str) -> float:
    """Characters of the answer in hundreds, as the peer's reward."""
    return len(completion) / 100


class Watch:
    """A plugin that follows the run: phases and verbs timed by wrapping them, steps by the run's own events."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.stopwatch = Stopwatch(aside=("record", *VERBS), lockstep=options.lockstep)
        self.memory = {"imported": peak_memory()}
        self.seen: dict[str, list[Any]] = {"prompt_tokens": [], "tokens": [], "loss": [], "kl": []}
        self.moved = 0.0

    @rl.hookimpl
    def rlaif_run_started(self, run: Any) -> None:
        import torch

        from rlaif_core import loop
        from rlaif_core.record import Record
        from rlaif_core.sampling import Decoder

        self.memory["built"] = peak_memory()
        self.before = [parameter.detach().clone() for parameter in run.loop.policy.module.parameters()]
        policy, wrap = type(run.loop.policy), self.stopwatch.wrap
        wrap(Decoder, "draw", "generation")
        wrap(policy, "reference_logprobs", "reference")
        wrap(policy, "forward", "forward")
        wrap(torch.Tensor, "backward", "backward")
        wrap(torch.nn.utils, "clip_grad_norm_", "optimiser")
        wrap(torch.optim.AdamW, "step", "optimiser")
        wrap(Record, "step", "record")
        for verb in VERBS:
            wrap(loop, verb, verb)

    @rl.hookimpl
    def rlaif_step_finished(self, experience: rl.Experience, metrics: rl.Metrics) -> None:
        self.stopwatch.lap()
        chosen, attended = experience.rollouts.mask.sum(1), experience.rollouts.attend.sum(1)
        self.seen["tokens"].append(chosen.tolist())
        self.seen["prompt_tokens"].append((attended - chosen).tolist())
        self.seen["loss"].append(metrics["loss"])
        self.seen["kl"].append(metrics["kl"])

    @rl.hookimpl
    def rlaif_run_finished(self, run: Any) -> None:
        after = run.loop.policy.module.parameters()
        self.moved = max(float((p.detach() - b).abs().max()) for p, b in zip(after, self.before, strict=True))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run warm-up and timed steps, check that the work asked for was done, and give the figures."""
    import torch
    import transformers

    from rlaif_core.plugins import Origin

    torch.set_num_threads(options.threads)
    watch, plugins = Watch(options), rl.Plugins.load()
    plugins.add(watch, Origin("watch", "this benchmark", "local"))
    rows = [{"messages": [{"role": "user", "content": question}]} for question in QUESTIONS[: options.prompts]]
    with tempfile.TemporaryDirectory() as folder, profiled(options.profile):
        config = config_of(options, Path(folder))
        rl.run(config, plugins=plugins, progress=False, prompts=rows, rewards={"characters": characters})
    seen, timed = watch.seen, watch.stopwatch.rows[options.warmup :]
    batch = options.prompts * options.group
    if any(counts != [options.tokens] * batch for counts in seen["tokens"]):
        raise SystemExit(f"not every completion has {options.tokens} tokens: {seen['tokens']}")
    if not (watch.moved > 0 and all(map(math.isfinite, seen["loss"] + seen["kl"])) and len(timed) == options.steps):
        raise SystemExit(f"the steps did not train: parameters moved {watch.moved}, losses {seen['loss']}")
    wall = summary([row["wall"] for row in timed])
    return {
        "who": f"rlaif-core {rl.__version__}",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()},
        "work": {
            "completions": batch,
            "tokens": seen["tokens"][-1],
            "prompt_tokens": seen["prompt_tokens"][-1],
            "loss": seen["loss"],
            "kl": seen["kl"],
            "moved": watch.moved,
        },
        "rows": timed,
        "seconds": {name: summary([row[name] for row in timed]) for name in timed[0]},
        "tokens_per_second": batch * options.tokens / wall["median"],
        "memory_bytes": {**watch.memory, "peak": peak_memory()},
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    options = arguments()
    os.environ.update(OMP_NUM_THREADS=str(options.threads), TOKENIZERS_PARALLELISM="false")
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1", CUDA_VISIBLE_DEVICES="")
    with contextlib.redirect_stdout(sys.stderr):
        figures = measure(options)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
