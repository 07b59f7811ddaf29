from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic
import pytest

import rlaif_core as rl
from rlaif_core.errors import ConfigError
from rlaif_core.options import OWN, OptionGroup, checked, parameters

if TYPE_CHECKING:
    from somewhere import Unimportable  # type: ignore[import-not-found]


class Plain:
    def __init__(self, word: str, times: int = 1, unit: Literal["words", "tokens"] = "words") -> None: ...


class Inner(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    column: str = "text"


class Bare:
    def __init__(self, anything="x"): ...  # type: ignore[no-untyped-def]


class Open:
    def __init__(self, known: int = 0, **others: Any) -> None: ...


class Nothing(rl.Judge):
    def ask(self, questions: Any) -> list[rl.Verdict]:
        return []


class Typed:
    def __init__(self, thing: Unimportable | None = None, times: int = 1) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Data:
    file: Path
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Adam(OptionGroup):
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)


class Grouped:
    def __init__(self, kl: float = 0.1, adam: Adam = Adam(lr=1e-5)) -> None:
        self.kl, self.adam = kl, adam


def test_options_are_the_parameters_of_the_builder() -> None:
    assert list(parameters(Plain)) == ["word", "times", "unit"]
    assert parameters(Plain)["times"].annotation is int
    assert list(parameters(Open)) == ["known"]
    assert list(parameters(Nothing)) == []
    assert parameters(Bare)["anything"].annotation is Any


def test_values_are_converted_by_their_hints() -> None:
    assert checked(Plain, {"word": "yes", "times": 3.0}, "here") == {"word": "yes", "times": 3}
    assert checked(Data, {"file": "a/b", "words": ["x", "y"]}, "here") == {"file": Path("a/b"), "words": ("x", "y")}


@pytest.mark.parametrize(
    ("build", "given", "complaint"),
    [
        (Plain, {"wrod": "x"}, r"here: unknown option 'wrod'; did you mean 'word'\? Options: word, times, unit"),
        (Plain, {"zzz": "x"}, r"here: unknown option 'zzz'\. Options: word, times, unit"),
        (Plain, {"times": 2}, r"here: option 'word' is missing"),
        (Plain, {"word": 3}, r"here: option 'word' is wrong: input should be a valid string, got 3"),
        (Plain, {"word": "x", "unit": "miles"}, r"'unit' is wrong: input should be 'words' or 'tokens', got 'miles'"),
        (Nothing, {"x": 1}, r"here: unknown option 'x'\. Options: none"),
        (Typed, {"times": "often"}, r"'times' is wrong: input should be a valid integer"),
        (Data, {"file": 7}, r"'file' is wrong"),
        (Grouped, {"lr": "fast"}, r"'lr' is wrong: input should be a valid number.*got 'fast'"),
        (Grouped, {"adam": {}}, r"unknown option 'adam'\. Options: kl, lr, betas"),
    ],
)
def test_each_complaint_says_where_what_and_why(
    build: Callable[..., Any], given: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(rl.ConfigError, match=complaint):
        checked(build, given, "here")


def test_what_has_no_hint_takes_anything() -> None:
    assert checked(Bare, {"anything": {"deep": [1]}}, "here") == {"anything": {"deep": [1]}}


def test_a_builder_with_open_options_takes_any_name() -> None:
    assert checked(Open, {"known": "4", "other": "4"}, "here") == {"known": 4, "other": "4"}


def test_hints_that_only_a_type_checker_can_import_are_passed_over() -> None:
    thing = object()
    assert checked(Typed, {"thing": thing, "times": "2"}, "here") == {"thing": thing, "times": 2}


def test_ready_made_objects_are_handed_on_as_they_are() -> None:
    judge = object()
    assert checked(Plain, {"word": judge}, "here", objects=["word"])["word"] is judge


def test_a_group_of_options_is_spread_into_the_table_and_put_back() -> None:
    assert list(parameters(Grouped)) == ["kl", "lr", "betas"]
    assert parameters(Grouped)["lr"].default == 1e-5
    values = checked(Grouped, {"kl": 0.2, "betas": [0.5, 0.6]}, "here")
    built = Grouped(**values)
    assert (built.kl, built.adam) == (0.2, Adam(lr=1e-5, betas=(0.5, 0.6)))
    assert Grouped(**checked(Grouped, {}, "here")).adam == Adam(lr=1e-5)


def test_an_option_may_be_a_table_of_its_own():
    def build(source: Inner, times: int = 1): ...

    assert checked(build, {"source": {"column": "x"}}, "it") == {"source": Inner(column="x")}
    with pytest.raises(rl.ConfigError, match="it: option 'source' is wrong: extra inputs are not permitted"):
        checked(build, {"source": {"colum": "x"}}, "it")


@dataclass(frozen=True, kw_only=True)
class Place(OptionGroup):
    host: str = "here"
    name: str = field(default="", metadata=OWN)


def test_a_builder_may_ask_for_a_field_of_a_group_itself():
    def build(name: str, *, place: Place = Place()) -> tuple[str, Place]:
        return name, place

    assert list(parameters(build)) == ["name", "host"]
    assert build(**checked(build, {"name": "a", "host": "there"}, "it")) == ("a", Place(host="there"))
    with pytest.raises(ConfigError, match="option 'name' is missing"):
        checked(build, {}, "it")
