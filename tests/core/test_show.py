from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

import rlaif_core as rl
from rlaif_core.options import OptionGroup
from rlaif_core.plugins import Listing, Origin
from rlaif_core.show import described, kind_named, singular

HERE = Origin("here", "rlaif-here", "0.1")


def shown(build: Any, summary: str = "") -> str:
    return described(Listing("rewards", rl.Offer("mine", build, summary), HERE))


class Mine:
    """What mine does.

    And how.
    """

    def __init__(self, word: str, unit: Literal["words", "tokens"] = "words", most: int | None = None) -> None: ...


@dataclass
class Data:
    word: str = "please"


@dataclass(frozen=True)
class Shared(OptionGroup):
    """`size` is how much."""

    size: int = 3


class Sharing:
    """What sharing does."""

    def __init__(self, word: str = "please", shared: Shared = Shared()) -> None: ...


def test_a_shared_group_of_options_explains_itself() -> None:
    assert shown(Sharing).splitlines()[1:] == [
        "",
        "What sharing does.",
        "",
        "`size` is how much.",
        "",
        "options",
        "  word  str  = 'please'",
        "  size  int  = 3",
    ]


def test_kinds_have_a_singular() -> None:
    kinds = ["policies", "actions", "judges", "rewards", "credits", "optimisers", "observers"]
    assert [singular(kind) for kind in kinds] == [
        "policy",
        "action",
        "judge",
        "reward",
        "credit",
        "optimiser",
        "observer",
    ]
    assert [kind_named(word) for word in ("policy", "Rewards", "optimiser")] == ["policies", "rewards", "optimisers"]


def test_an_unknown_kind_is_told_the_right_word() -> None:
    with pytest.raises(
        rl.PluginError, match=r"there is no kind 'optimizer'; did you mean 'optimiser'\? Kinds: policy, "
    ):
        kind_named("optimizer")


def test_an_offer_is_described_by_origin_summary_docstring_and_options() -> None:
    assert shown(Mine, "one line").splitlines() == [
        "reward source 'mine' from rlaif-here 0.1 (here)",
        "one line",
        "",
        "What mine does.",
        "",
        "And how.",
        "",
        "options",
        "  word  str                 required",
        "  unit  'words' | 'tokens'  = 'words'",
        "  most  int | None          = None",
    ]


def test_a_signature_that_a_dataclass_wrote_is_no_docstring() -> None:
    assert "Data(" not in shown(Data)
    assert "word  str  = 'please'" in shown(Data)


def test_an_offer_without_options_says_so() -> None:
    def build() -> None: ...

    assert shown(build).endswith("options\n  none")


def test_an_offer_that_cannot_be_imported_names_its_plugin() -> None:
    with pytest.raises(rl.PluginError, match="there is no module 'nowhere' to import") as caught:
        shown("nowhere:Mine")
    assert "reward source 'mine' from rlaif-here" in caught.value.__notes__[0]
