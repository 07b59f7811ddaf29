"""What a plugin hands over when asked: offers, each a name and how to build the thing; and `@reward`, the shorthand."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pluggy

from rlaif_core.deadline import each_within, insist_possible
from rlaif_core.errors import PluginError, blame
from rlaif_core.feedback import Outcome

if TYPE_CHECKING:
    from rlaif_core.types import Prompt, Rollouts

T = TypeVar("T", covariant=True)
hookimpl = pluggy.HookimplMarker("rlaif")

TIMEOUT = 60.0
"""Seconds that a reward function may take for one answer, where nobody says otherwise."""
_TIMEOUT = inspect.Parameter("timeout", inspect.Parameter.KEYWORD_ONLY, default=TIMEOUT, annotation=float)

KINDS = ("policies", "actions", "judges", "rewards", "credits", "optimisers", "observers")
"""What can be offered; the hook that asks for it is `rlaif_` + kind."""


@dataclass(frozen=True, slots=True)
class Offer(Generic[T]):
    """A name that a config may `use`, how to build the thing, and one line of summary.

    `build` is a callable, or "module:attr" imported only when a config chooses it. Its parameters are the options of
    the TOML table, its defaults their defaults, its type hints their validation.
    """

    name: str
    build: Callable[..., T] | str
    summary: str = ""

    def resolve(self) -> Callable[..., T]:
        """The callable that builds the thing, imported now if it was given as text."""
        return load_attribute(self.build) if isinstance(self.build, str) else self.build


def load_attribute(path: str) -> Any:
    """Import "module:attr"; errors say which half is missing."""
    module_name, colon, attribute = path.partition(":")
    if not colon or not module_name or not attribute:
        raise PluginError(f"{path!r} does not name an attribute; write 'module:attribute'")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise PluginError(f"{path!r}: there is no module {error.name!r} to import") from error
        raise
    try:
        target: Any = module
        for name in attribute.split("."):
            target = getattr(target, name)
    except AttributeError as error:
        raise PluginError(f"{path!r}: module {module_name!r} has no attribute {attribute!r}") from error
    return target


class FunctionReward:
    """A reward source made of a function that looks at one prompt and one completion at a time.

    A call that takes longer than `timeout` seconds (0: no limit) raises `FeedbackError`.
    """

    def __init__(
        self,
        function: Callable[..., Outcome | float | None],
        options: Mapping[str, Any] = MappingProxyType({}),
        timeout: float = TIMEOUT,
    ) -> None:
        self.function, self.options, self.timeout = function, options, insist_possible(timeout)

    def score(self, rollouts: Rollouts) -> Sequence[Outcome | float | None]:
        pairs = zip(rollouts.prompts, rollouts.completions, strict=True)
        said = each_within(self.timeout, [partial(self.function, *pair, **self.options) for pair in pairs])
        scores = []
        for prompt in rollouts.prompts:
            with blame(f"prompt {prompt.id!r}"):
                scores.append(next(said))
        return scores


class RewardFunction:
    """What `@reward` returns: still the function, and a plugin that offers it under its own name."""

    def __init__(self, function: Callable[..., Outcome | float | None]) -> None:
        parameters = list(inspect.signature(function).parameters.values())
        if len(parameters) < 2:
            raise PluginError(f"@reward function {function.__name__!r} must take a prompt and a completion")
        if any(p.kind is not p.KEYWORD_ONLY and p.default is p.empty for p in parameters[2:]):
            raise PluginError(f"@reward function {function.__name__!r}: options after the completion need defaults")
        self.function = function
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self._options = parameters[2:]

    def __call__(self, prompt: Prompt, completion: str, **options: Any) -> Outcome | float | None:
        return self.function(prompt, completion, **options)

    def build(self) -> Callable[..., FunctionReward]:
        """The builder whose parameters are the function's own options, so that a TOML table is checked against them,
        and a `timeout`, unless the function has one of its own."""
        own = "timeout" in {p.name for p in self._options}

        def build(**options: Any) -> FunctionReward:
            timeout = TIMEOUT if own else options.pop("timeout", TIMEOUT)
            return FunctionReward(self.function, options, timeout)

        keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in self._options]
        keyword_only += [] if own else [_TIMEOUT]
        build.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
        build.__annotations__ = {p.name: p.annotation for p in keyword_only if p.annotation is not p.empty}
        build.__wrapped__ = self.function  # type: ignore[attr-defined]  # hints are looked up where it was written
        build.__doc__ = self.__doc__
        build.__module__ = self.__module__
        return build

    @hookimpl
    def rlaif_rewards(self) -> list[Offer[FunctionReward]]:
        summary = (inspect.getdoc(self.function) or "").partition("\n")[0]
        return [Offer(self.__name__, self.build(), summary)]


def reward(function: Callable[[Prompt, str], Outcome | float | None]) -> RewardFunction:
    """Make a function `(prompt, completion) -> float | Score | Abstain | Failed | None` a reward plugin.

    >>> import rlaif_core as rl
    >>> @rl.reward
    ... def brevity(prompt: rl.Prompt, completion: str) -> float:
    ...     return -len(completion) / 1000
    """
    return RewardFunction(function)
