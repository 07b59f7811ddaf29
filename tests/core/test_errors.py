from __future__ import annotations

import sys

import pytest

import rlaif_core as rl
from rlaif_core.errors import blame, explain, suggest

FAMILY = (rl.ConfigError, rl.DataError, rl.PluginError, rl.FeedbackError, rl.TrainingError, rl.CheckpointError)


@pytest.mark.parametrize("error", FAMILY)
def test_the_family_is_caught_as_one(error: type[Exception]) -> None:
    assert issubclass(error, rl.RlaifError)
    assert error.__doc__


def test_a_typo_gets_a_suggestion_and_a_guess_gets_none() -> None:
    assert suggest("grop", ["dpo", "grpo", "ppo"]) == "; did you mean 'grpo'?"
    assert suggest("entirely", ["dpo", "grpo"]) == ""
    assert suggest("x", []) == ""


def test_blame_adds_notes_from_the_inside_out_and_keeps_the_error() -> None:
    error = KeyError("answer")
    with pytest.raises(KeyError) as caught, blame("reward 'mine', step 3"), blame("prompt 'p7'"):
        raise error
    assert caught.value is error
    assert caught.value.__notes__ == ["  in prompt 'p7'", "  in reward 'mine', step 3"]


def test_nothing_is_noted_when_nothing_goes_wrong_or_the_user_stops() -> None:
    with blame("anything"):
        pass
    with pytest.raises(KeyboardInterrupt) as caught, blame("anything"):
        raise KeyboardInterrupt
    assert not hasattr(caught.value, "__notes__")


def test_an_explanation_is_type_message_and_notes() -> None:
    error = rl.PluginError("it broke")
    assert explain(error) == "PluginError: it broke"
    error.add_note("  in plugin 'mine'")
    assert explain(error) == "PluginError: it broke\n  in plugin 'mine'"


def test_what_a_model_wrote_cannot_steer_the_terminal() -> None:
    said = explain(rl.FeedbackError("\x1b]0;mine\x07\x9b31mred\u202e\r\n\tok ü 你\u3000 10\u202f€ 👩\u200d🔬"))
    assert said == "FeedbackError: \\x1b]0;mine\\x07\\x9b31mred\\u202e\\r\n\tok ü 你\u3000 10\u202f€ 👩\u200d🔬"


@pytest.mark.parametrize("code", [0, 1, None])
def test_code_that_wants_to_end_the_process_is_told_to_raise(code: int | None) -> None:
    told = rf"called sys.exit\({code}\).*raise an error instead"
    with pytest.raises(rl.PluginError, match=told) as caught, blame("reward 'mine'"):
        sys.exit(code)
    assert caught.value.__notes__ == ["  in reward 'mine'"]
