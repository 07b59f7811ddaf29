from __future__ import annotations

import pytest

from rlaif_rewards.proofreading import Error, counted, proofreader

RARE, SLIP = Error("spelling", "blicket", rare=True), Error("spelling", "hosue", "house")


def found(text: str, language: str = "en", *kinds: str, known: tuple[str, ...] = ()) -> list[str]:
    return [str(error) for error in proofreader(language, kinds or ("spelling", "grammar"))(text, known)]


def test_rare_words_count_where_there_are_many() -> None:
    assert counted([RARE, SLIP], 20) == [SLIP]
    assert counted([RARE, RARE, SLIP], 20) == [RARE, RARE, SLIP]
    assert counted([RARE, RARE, SLIP], 40) == [SLIP]
    assert counted([RARE], 4) == [RARE]  # of few words each must be one
    assert counted([], 0) == []


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("They live in a hosue.", ["'hosue' (house?)"]),
        ("Recieve it now.", ["'Recieve' (Receive?)"]),
        ("Tehy left.", ["'Tehy' (They?)"]),
        ("Thats it, and Im late.", ["'Thats' (That's?)", "'Im' (I'm?)"]),
        ("Kowalczyk met Grzegorz here.", []),
        ("The NLRB and the OECDs said so.", []),
        ("It is an non-issue for the co-author.", ["'an' (a?)"]),
        ("An `x` a `x` an `x`", []),
        ("Vitamin A acts.", []),
    ],
)
def test_errors_of_english(text: str, errors: list[str]) -> None:
    assert found(text) == errors


def test_known_words_are_well_spelled_with_their_endings() -> None:
    assert found("They sell blorfles and a blorfle's lid.", known=("blorfle",)) == []


def test_lists_of_words_know_names_by_their_capitals_and_compounds_by_their_parts() -> None:
    assert found("Wir treffen Grzegorz und das ist nciht", "de", "spelling") == ["'nciht' (nicht?)"]
    assert found("WIR TREFFEN GRZEGORZ UND DAS", "de", "spelling") == ["'GRZEGORZ'"]
