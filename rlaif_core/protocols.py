"""What each part must be able to do. The parameter list is the permission: a part touches what it is handed.

Inherit for the default bodies, or simply have the methods; nothing is registered here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rlaif_core.errors import ConfigError
from rlaif_core.feedback import Feedback, Outcome, Question, Scored, Verdict
from rlaif_core.types import Experience, Prompt, Rollouts

if TYPE_CHECKING:
    import torch
    from torch import Tensor

State = dict[str, Any]
"""What a part must remember to go on exactly: nested dicts, lists and tuples of tensors, numbers and texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to draw answers. top_k 0, top_p 1 and min_p 0 mean: no truncation.

    `stop` strings end an answer once it contains one; the stop string stays part of the answer.
    """

    max_tokens: int = 128
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    stop: str | tuple[str, ...] = ()  # kept as a tuple

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        checks = (
            (self.max_tokens >= 1, f"max_tokens is {self.max_tokens}, but must be at least 1"),
            (
                1e-3 <= self.temperature <= 1e3,  # far beyond, logits / temperature overflow or are all the same
                f"temperature is {self.temperature}, but must be in [0.001, 1000]; for greedy use top_k = 1",
            ),
            (self.top_k >= 0, f"top_k is {self.top_k}, but must be 0 (off) or more"),
            (0 < self.top_p <= 1, f"top_p is {self.top_p}, but must be in (0, 1]"),
            (0 <= self.min_p < 1, f"min_p is {self.min_p}, but must be in [0, 1)"),
            (all(self.stop), "a stop string is empty"),
        )
        for holds, complaint in checks:
            if not holds:
                raise ConfigError(f"sampling: {complaint}")

    @property
    def truncated(self) -> bool:
        """Whether some tokens could not be drawn at all."""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0


@runtime_checkable
class Sampler(Protocol):
    """Something that answers prompts; what an action is handed. It knows the run's seed, step and group size."""

    @property
    def group(self) -> int:
        """Answers wanted for each prompt."""
        ...

    def sample(self, prompts: Sequence[Prompt], sampling: Sampling) -> Rollouts:
        """Draw `group` answers for each prompt, neighbours in one group; seeded by (run, step, prompt, sample)."""
        ...

    def extend(self, rollouts: Rollouts, turns: Sequence[str], sampling: Sampling) -> Rollouts:
        """Append a user turn to each conversation and draw the next answer; earlier tokens are kept as they are.

        The new rollouts' prompts hold the conversation so far and their completions the new answers.
        """
        ...

    def recorded(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> Rollouts:
        """Rollouts of given answers (for prompt i: answers[i], any number), scored with the policy's log-probs."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A part with something to remember across a resume; parts without these methods are rebuilt from the config.

    All but the policy are asked before every step, so that one which fails can be taken back. What is loaded takes the
    place of what is there, and may be what `state_dict` has just given. An optimiser's tensors are not copied then:
    they change only behind `policy.version`.
    """

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


@runtime_checkable
class Action(Protocol):
    """Turns prompts, or the previous action's draft, into rollouts."""

    def act(self, sampler: Sampler, prompts: Sequence[Prompt], draft: Rollouts | None) -> Rollouts: ...


@runtime_checkable
class RewardSource(Protocol):
    """Scores rollouts, seeing nothing else: one `Outcome` (or number) an answer, or `Scored` with token scores too."""

    def score(self, rollouts: Rollouts) -> Sequence[Outcome | float | None] | Tensor | Scored: ...


@runtime_checkable
class Judge(Protocol):
    """Answers questions about texts: one verdict a question, in order."""

    def ask(self, questions: Sequence[Question]) -> Sequence[Verdict]: ...


class Critic(Protocol):
    """A read-only view of a learnt critic. `gives` names what it can tell: "values", "attention", "ablations"."""

    gives: frozenset[str]

    def values(self, rollouts: Rollouts) -> Tensor:
        """[B,T] f32: value of the state in which each chosen token was chosen; 0 off-mask."""
        ...

    def values_after(self, rollouts: Rollouts) -> Tensor:
        """[B] f32: value of the state after the last token, to bootstrap answers cut off by length."""
        ...


class NoCritic(Critic):
    """Stands in where the optimiser trains no critic, and says what to do about it."""

    gives: frozenset[str] = frozenset()

    def values(self, rollouts: Rollouts) -> Tensor:
        raise ConfigError(
            "this credit assignment needs values, but the optimiser trains no critic; "
            "use an optimiser with a value head, or a credit that needs none"
        )

    def values_after(self, rollouts: Rollouts) -> Tensor:
        return self.values(rollouts)


@runtime_checkable
class Credit(Protocol):
    """Spreads feedback over tokens. `needs` names what it asks of the critic; `compares` says that the answers to one
    prompt are measured against each other, so that one alone teaches nothing."""

    needs: frozenset[str] = frozenset()
    compares: bool = False

    def assign(self, rollouts: Rollouts, feedback: Feedback, critic: Critic) -> Experience: ...


@dataclass(frozen=True, slots=True)
class Forward:
    """One pass of the policy over rollouts: logp [B,T] f32 (0 off-mask), entropy [B,T] or None.

    `hidden` [B,T,H] is the trunk's last hidden state from which each chosen token was predicted, 0 off-mask; `last`
    [B,H] the state after the last token.
    """

    logp: Tensor
    entropy: Tensor | None = None
    hidden: Tensor | None = None
    last: Tensor | None = None


class Policy(Protocol):
    """The model in training. Only the optimiser is handed it."""

    module: torch.nn.Module
    version: int
    hidden_size: int

    def sampler(self, *, seed: int, step: int, group: int) -> Sampler:
        """Something that samples from the current weights; the same arguments draw the same answers."""
        ...

    def forward(self, rollouts: Rollouts, *, entropy: bool = False, hidden: bool = False) -> Forward:
        """Log-probabilities of the chosen tokens under the distribution they were sampled from, with gradients."""
        ...

    def logprobs(self, rollouts: Rollouts) -> Tensor:
        """`forward(rollouts).logp`: [B,T] f32, differentiable."""
        return self.forward(rollouts).logp

    def keep_reference(self) -> None:
        """Promise that `reference_logprobs` will be asked for: remember the policy as it is at the run's start."""
        ...

    def reference_logprobs(self, rollouts: Rollouts, *, hidden: bool = False) -> Tensor:
        """[B,T] f32 of the policy as it was when training began, without gradients.

        `hidden`: computed as `forward(hidden=True)` computes, so that a difference from that is none of rounding.
        """
        ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...

    def save(self, folder: Path) -> None:
        """Write the policy so that others can load it (for transformers: an ordinary model folder)."""
        ...


class Optimiser(Protocol):
    """Turns experience into an update of the policy. The loop calls `prepare` once, then `step`."""

    channels: frozenset[str] | None = frozenset({"reward"})
    """Channels that `step` reads; None: any. A configured channel that is not read is a configuration error."""

    gives: frozenset[str] = frozenset()
    """What the critic that it trains can tell ("values"); a credit that needs more is a configuration error."""

    def prepare(self, policy: Policy, steps: int) -> None:
        """Called once before the first step, and before `load_state_dict`: build what depends on the parameters."""

    def sources(self) -> Mapping[str, RewardSource]:
        """Reward sources that it contributes (a KL penalty, a discriminator); asked after `prepare`."""
        return {}

    def weights(self) -> Mapping[str, float]:
        """Weights of the contributed sources, asked before every scoring; 1 where not named."""
        return {}

    def critic(self) -> Critic:
        """The critic that it trains, for credit assignment to read."""
        return NoCritic()

    def step(self, policy: Policy, experience: Experience) -> Mapping[str, float]:
        """Update the policy once or more, adding 1 to `policy.version` before each; return metrics, all finite.

        A step that raises before it has changed the version is taken back and saved.
        """
        ...

    def skip(self) -> None:
        """Asked instead of `step` where nothing counted: what follows the run's steps (a learning rate) goes on."""

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State) -> None:
        if state:
            raise ConfigError(f"{type(self).__name__} was saved with state {sorted(state)} but restores none")


@runtime_checkable
class Observer(Protocol):
    """Looks at what a step is about to learn from, before the weights change.

    One that has a method `told(step, metrics)` also learns what each finished step reported.
    """

    def observe(self, step: int, experience: Experience) -> Mapping[str, float]:
        """Metrics to report beside the step's own, or none. Raise `Stop` to end the run in good order before this step.

        What else it raises stops the run as any part's error does: the step is taken back, and saved as it was.
        """
        ...
