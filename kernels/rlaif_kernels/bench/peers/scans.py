"""Other projects' advantage estimation and returns; all but verl's, which stands with the rest of verl.

They have no mask, so they take part where there are no holes; what follows an end is worth nothing in all of them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels.bench.case import Absent, Answers, Call, Contestant, Inputs, installed

__all__ = ["lfilter", "numba_loop", "reward_to_go", "stable_baselines", "tianshou", "torchrl", "torchrl_vtrace"]


def torchrl() -> list[Contestant]:
    """Its vectorised form and its loop."""

    def prepare(name: str, inputs: Inputs) -> Call:
        function = getattr(installed("torchrl.objectives.value.functional"), name)
        rewards, values, ends = (inputs[name].unsqueeze(-1) for name in ("rewards", "values", "dones"))
        following = _following(inputs["values"], inputs["dones"]).unsqueeze(-1)
        return lambda: function(inputs["gamma"], inputs["lam"], values, following, rewards, ends)

    def read(said: Any) -> Answers:
        return {"advantages": said[0].squeeze(-1), "returns": said[1].squeeze(-1)}

    names = {"torchrl vectorised": "vec_generalized_advantage_estimate", "torchrl": "generalized_advantage_estimate"}
    return [Contestant(shown, partial(prepare, name), read, package="torchrl") for shown, name in names.items()]


def torchrl_vtrace() -> Contestant:
    def prepare(inputs: Inputs) -> Call:
        function = installed("torchrl.objectives.value.functional").vtrace_advantage_estimate
        rewards, values, ends = (inputs[name].unsqueeze(-1) for name in ("rewards", "values", "dones"))
        following = _following(inputs["values"], inputs["dones"]).unsqueeze(-1)
        ratios = inputs["log_ratios"].unsqueeze(-1)
        nothing = torch.zeros_like(ratios)
        return lambda: function(inputs["gamma"], ratios, nothing, values, following, rewards, ends)

    def read(said: Any) -> Answers:
        return {"targets": said[1].squeeze(-1), "advantages": said[0].squeeze(-1)}

    return Contestant("torchrl", prepare, read, package="torchrl")


def reward_to_go() -> Contestant:
    def prepare(inputs: Inputs) -> Call:
        function = installed("torchrl.objectives.value.functional").reward2go
        rewards, ends = (inputs[name].unsqueeze(-1) for name in ("rewards", "dones"))
        return lambda: function(rewards, ends, inputs["gamma"])

    def read(said: Any) -> Answers:
        return {"returns": said.squeeze(-1)}

    return Contestant("torchrl", prepare, read, note="drops weights below 1e-7", package="torchrl")


def stable_baselines() -> Contestant:
    """The rollout buffer of its PPO, filled beforehand: [T,B] in numpy."""

    def prepare(inputs: Inputs) -> Call:
        _on_cpu(inputs["rewards"])
        buffers, spaces = installed("stable_baselines3.common.buffers"), installed("gymnasium.spaces")
        rows, steps = inputs["rewards"].shape
        box = spaces.Box(0, 1, (1,))
        buffer = buffers.RolloutBuffer(
            steps, box, box, "cpu", gae_lambda=inputs["lam"], gamma=inputs["gamma"], n_envs=rows
        )
        buffer.rewards[:], buffer.values[:] = inputs["rewards"].T.numpy(), inputs["values"].T.numpy()
        ends = inputs["dones"].T.numpy()
        buffer.episode_starts[1:] = ends[:-1]
        last = torch.zeros(rows)

        def call() -> tuple[Any, Any]:
            buffer.compute_returns_and_advantage(last, ends[-1])
            return buffer.advantages, buffer.returns

        return call

    note = "[T,B] in numpy"
    return Contestant("stable-baselines3", prepare, _from_columns, note, package="stable-baselines3", counted=False)


def tianshou() -> Contestant:
    """The loop in numba that its PPO runs, over all rows end to end."""

    def prepare(inputs: Inputs) -> Call:
        _on_cpu(inputs["rewards"])
        function = installed("tianshou.algorithm.algorithm_base")._gae  # noqa: SLF001  it has no public name
        shape = inputs["rewards"].shape
        rewards, values, ends = (inputs[name].reshape(-1).numpy() for name in ("rewards", "values", "dones"))
        following = _following(inputs["values"], inputs["dones"]).reshape(-1).numpy()

        return lambda: (function(values, following, rewards, ends, inputs["gamma"], inputs["lam"]), shape)

    def read(said: Any) -> Answers:
        advantages, shape = said
        return {"advantages": torch.from_numpy(advantages).view(shape)}

    note = "advantages alone, the values of next states given; one thread"
    return Contestant("tianshou", prepare, read, note, package="tianshou", counted=False)


def numba_loop() -> Contestant:
    """The same recursion as ours, masks and all, as one would write it in numba."""

    def prepare(inputs: Inputs) -> Call:
        _on_cpu(inputs["rewards"])
        numba, numpy = installed("numba"), installed("numpy")

        def loop(rewards: Any, values: Any, mask: Any, ends: Any, gamma: float, lam: float) -> Any:
            advantages, returns = numpy.zeros_like(rewards), numpy.zeros_like(rewards)
            for row in range(rewards.shape[0]):
                carry, following, last = 0.0, 0.0, True
                for t in range(rewards.shape[1] - 1, -1, -1):
                    if ends[row, t]:
                        last = True
                    if mask[row, t]:
                        if last:
                            carry, following = 0.0, 0.0
                        carry = rewards[row, t] + gamma * following - values[row, t] + gamma * lam * carry
                        following, last = values[row, t], False
                        advantages[row, t], returns[row, t] = carry, carry + following
            return advantages, returns

        run = numba.njit(loop)
        arrays = [inputs[name].numpy() for name in ("rewards", "values", "mask")]
        ends = inputs["dones"].numpy() if inputs.get("dones") is not None else numpy.zeros_like(arrays[2])
        return lambda: run(*arrays, ends, inputs["gamma"], inputs["lam"])

    def read(said: Any) -> Answers:
        return {"advantages": torch.from_numpy(said[0]), "returns": torch.from_numpy(said[1])}

    note = "written for this comparison; one thread"
    return Contestant("numba loop", prepare, read, note, package="numba", counted=False)


def lfilter() -> Contestant:
    """A filter with one pole, run backwards; it knows no ends."""

    def prepare(inputs: Inputs) -> Call:
        _on_cpu(inputs["rewards"])
        function, rewards = installed("scipy.signal").lfilter, inputs["rewards"].numpy()
        one, pole = rewards.dtype.type(1), rewards.dtype.type(-inputs["gamma"])
        return lambda: function([one], [one, pole], rewards[:, ::-1])[:, ::-1]

    def read(said: Any) -> Answers:
        return {"returns": torch.from_numpy(said.copy())}

    return Contestant("scipy lfilter", prepare, read, "one thread", package="scipy", counted=False)


def _following(values: Tensor, ends: Tensor) -> Tensor:
    """What the next state is worth: 0 behind an end."""
    return torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1).masked_fill(ends, 0.0)


def _from_columns(said: Any) -> Answers:
    return {name: torch.from_numpy(its).T for name, its in zip(("advantages", "returns"), said, strict=True)}


def _on_cpu(tensor: Tensor) -> None:
    if tensor.is_cuda:
        raise Absent("runs on the CPU alone")
