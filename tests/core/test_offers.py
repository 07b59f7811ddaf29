from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.offers import KINDS, FunctionReward, RewardFunction, load_attribute
from rlaif_core.options import checked
from rlaif_core.plugins import Origin, Plugins
from rlaif_core.testing import make_rollouts


def test_an_offer_resolves_a_callable_or_a_path_only_when_asked() -> None:
    assert rl.Offer("mine", print).resolve() is print
    lazy: rl.Offer[Any] = rl.Offer("path", "colorsys:rgb_to_hsv", "made late")
    sys.modules.pop("colorsys", None)
    assert "colorsys" not in sys.modules
    assert lazy.resolve().__name__ == "rgb_to_hsv"


def test_offers_are_frozen() -> None:
    with pytest.raises(AttributeError):
        rl.Offer("mine", print).name = "yours"  # type: ignore[misc]


def test_an_attribute_may_lie_deeper() -> None:
    assert load_attribute("pathlib:Path.home") == Path.home


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("json", "'json' does not name an attribute; write 'module:attribute'"),
        ("json:", "does not name an attribute"),
        (":loads", "does not name an attribute"),
        ("no_such_package.part:thing", "there is no module 'no_such_package' to import"),
        ("json:lods", "module 'json' has no attribute 'lods'"),
        ("pathlib:Path.hom", "module 'pathlib' has no attribute 'Path.hom'"),
    ],
)
def test_a_path_that_leads_nowhere_says_which_half_is_missing(path: str, complaint: str) -> None:
    with pytest.raises(rl.PluginError, match=complaint):
        load_attribute(path)


def test_a_missing_dependency_of_the_module_keeps_its_own_error(distribution: Any) -> None:
    distribution("rlaif-needy", {}, {"needy": "import a_dependency_that_is_missing"})
    with pytest.raises(ModuleNotFoundError, match="a_dependency_that_is_missing"):
        load_attribute("needy:thing")


@rl.reward
def counted(prompt: rl.Prompt, completion: str, *, word: str = "yes", times: int = 1) -> float:
    """How often a word occurs.

    The rest is not the summary.
    """
    return float(completion.split().count(word) * times)


def test_a_reward_function_is_still_the_function() -> None:
    prompt = rl.Prompt(id="one", text="?")
    assert counted(prompt, "yes no yes") == 2
    assert counted(prompt, "yes no yes", word="no", times=3) == 3
    assert (counted.__name__, counted.__module__) == ("counted", __name__)


def test_a_reward_function_is_a_plugin_that_offers_itself() -> None:
    plugins = Plugins()
    plugins.add(counted, Origin("counted", "rlaif-counted", "1"))
    assert plugins.find("rewards", "counted").offer.summary == "How often a word occurs."
    source = plugins.build("rewards", "counted", {"word": "no", "times": "2"})
    assert source.score(make_rollouts([("yes please", "no no")])) == [0, 4]


def test_its_options_are_checked_by_its_own_hints() -> None:
    with pytest.raises(rl.ConfigError, match=r"unknown option 'wrd'; did you mean 'word'.*Options: word, times"):
        checked(counted.build(), {"wrd": "no"}, "here")
    with pytest.raises(rl.ConfigError, match=r"option 'times' is wrong: input should be a valid integer.*got 'often'"):
        checked(counted.build(), {"times": "often"}, "here")


def test_hints_are_looked_up_where_the_function_was_written(distribution: Any) -> None:
    source = """
from __future__ import annotations
from pathlib import Path as Place
import rlaif_core as rl
@rl.reward
def filed(prompt: rl.Prompt, completion: str, *, file: Place = Place('x')) -> float:
    return float(file.name == completion)
"""
    distribution("rlaif-filed", {"filed": "filed:filed"}, {"filed": source})
    assert checked(Plugins.load().find("rewards", "filed").offer.resolve(), {"file": "a/b"}, "here") == {
        "file": Path("a/b")
    }


def test_functions_of_another_shape_are_refused() -> None:
    with pytest.raises(rl.PluginError, match="@reward function 'short' must take a prompt and a completion"):

        @rl.reward  # type: ignore[arg-type]
        def short(completion: str) -> float:
            return 0.0

    with pytest.raises(rl.PluginError, match="@reward function 'greedy': options after the completion need defaults"):

        @rl.reward  # type: ignore[arg-type]
        def greedy(prompt: rl.Prompt, completion: str, word: str) -> float:
            return 0.0


def test_what_the_function_raises_names_the_prompt() -> None:
    def picky(prompt: rl.Prompt, completion: str) -> float:
        return 1 / len(completion)

    with pytest.raises(ZeroDivisionError) as caught:
        FunctionReward(picky, {}).score(make_rollouts([("yes", "")]))
    assert caught.value.__notes__ == ["  in prompt 'prompt-0'"]


def test_a_function_may_return_any_outcome() -> None:
    @rl.reward
    def moody(prompt: rl.Prompt, completion: str) -> rl.Outcome | float | None:
        return {"yes": rl.Score(1.0, "agreed"), "no": rl.Abstain("undecided"), "red": 0.5}.get(completion)

    assert isinstance(moody, RewardFunction)
    said = moody.build()().score(make_rollouts([("yes", "no", "red", "blue")]))
    assert list(said) == [rl.Score(1.0, "agreed"), rl.Abstain("undecided"), 0.5, None]


def test_kinds_are_those_of_the_hooks() -> None:
    from rlaif_core import hookspecs

    assert all(hasattr(hookspecs, f"rlaif_{kind}") for kind in KINDS)


def test_a_function_that_hangs_is_stopped_and_named() -> None:
    @rl.reward
    def stuck(prompt: rl.Prompt, completion: str) -> float:
        time.sleep(60)
        return 0.0

    source = stuck.build()(timeout=0.05)
    with pytest.raises(rl.FeedbackError, match=r"it took longer than 0\.05 s; mend it, or raise timeout") as raised:
        source.score(make_rollouts(["yes"]))
    assert "prompt 'prompt-0'" in raised.value.__notes__[0]
    assert checked(stuck.build(), {"timeout": 3}, "reward 'stuck'") == {"timeout": 3.0}


def test_a_function_may_have_a_timeout_of_its_own() -> None:
    @rl.reward
    def patient(prompt: rl.Prompt, completion: str, timeout: float = 7.0) -> float:
        return timeout

    source = patient.build()(timeout=9.0)
    assert source.score(make_rollouts(["yes"])) == [9.0]
