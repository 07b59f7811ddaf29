"""The contract of an observer: metrics of its own, that a resumed run would report as well, or a wish to stop."""

from __future__ import annotations

from collections.abc import Mapping

from rlaif_core.errors import PluginError, Stop, blame
from rlaif_core.measure import measure
from rlaif_core.protocols import Observer, Stateful
from rlaif_core.testing.compare import difference, snapshot, untouched
from rlaif_core.testing.contract import check_state, named, remembered
from rlaif_core.testing.values import awkward_feedback, awkward_rollouts, make_experience
from rlaif_core.types import Experience, Metrics


def check_observer(observer: Observer, *, repeatable: bool = True) -> None:
    """Check an observer: what it reports, what it remembers, and what it does to its input.

    It may stop the run, with a reason. `repeatable=False`: it reports times, or asks what answers by chance.
    """
    part = named(observer, "observe")
    start = remembered(observer)
    step = 0
    for batch, rollouts in awkward_rollouts().items():
        for kind, feedback in awkward_feedback(rollouts).items():
            experience, given, step = make_experience(rollouts, feedback), f"{batch} with {kind}", step + 1
            before = remembered(observer)
            first = _observed(observer, part, step, experience, given)
            if not repeatable:
                continue
            if before is not None and isinstance(observer, Stateful):
                observer.load_state_dict(before)
            again = _observed(observer, part, step, experience, given)
            if path := difference(snapshot(first, "metrics"), snapshot(again, "metrics")):
                why = "asked twice; what it remembers belongs into state_dict and load_state_dict"
                if before is not None:
                    why = "its state is loaded again; all that it remembers belongs into state_dict"
                raise PluginError(f"{part} reports something else about {given} when {why}: {path} changed")
    check_state(observer, start)


def _observed(observer: Observer, part: str, step: int, experience: Experience, given: str) -> dict[str, float | str]:
    """What it reported, or why it wants to stop."""
    with blame(f"{part} on {given}"), untouched(part, experience=experience):
        try:
            said = observer.observe(step, experience)
        except Stop as wish:
            if not str(wish):
                raise PluginError(f"{part} stops the run without saying why; raise Stop with a reason") from wish
            return {"stop": str(wish)}
    if not isinstance(said, Mapping):
        raise PluginError(f"{part} returned a {type(said).__name__}; return metrics by name, or {{}}")
    for name in said:
        if not isinstance(name, str) or not name:
            raise PluginError(f"{part} returned a metric called {name!r}; a name is a text")
    with blame(f"{part} on {given}"):
        measure(experience, Metrics(), 1.0, Metrics(said))
    return dict(said)
