from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlaif_rewards.language import foreign, native
from rlaif_rewards.prose import prose

LINES = {
    "German": "Das ist ein sehr schöner Tag, und wir gehen jetzt nach Hause.",
    "French": "Je ne sais pas ce que vous voulez faire demain avec l'étude.",
    "Spanish": "No sé qué quieres hacer mañana por la tarde.",
    "Italian": "Non so che cosa vuoi fare domani con la macchina.",
    "Portuguese": "Eu não sei o que você quer fazer amanhã.",
    "Dutch": "Ik weet niet wat je morgen wilt gaan doen.",
    "another script": "Мы не знаем, что делать завтра.",
}


@pytest.mark.parametrize(("name", "line"), LINES.items())
def test_lines_in_other_languages_are_recognised(name: str, line: str) -> None:
    assert foreign(line, "en") == name


def test_a_language_is_not_foreign_to_itself() -> None:
    assert foreign(LINES["German"], "de") == ""
    assert foreign("This is what they say.", "de") == "English"
    assert foreign(LINES["another script"], "ru") == ""


@pytest.mark.parametrize(
    "line",
    [
        "",
        "42",
        "Ja ja",
        "xkqzt wvbnr plqst mnzzt",
        "teh oldd hosue stil stnads",
        "Thsi is qiute bda yuo knwo",
        "LOL brb",
    ],
)
def test_gibberish_slips_and_single_words_are_not_foreign(line: str) -> None:
    assert foreign(line, "en") == ""


def test_other_lines_are_left_out_and_named() -> None:
    text = f"One says:\n{LINES['German']}\nThat is all."
    assert native(text, "en") == ("One says:\n\nThat is all.", "German")
    assert native("One says hello.", "en") == ("One says hello.", "")


@pytest.mark.real
def test_what_people_wrote_in_english_is_english(real_data: Path) -> None:
    with (real_data / "data" / "claims_liar.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["statement"] for line in lines]
    assert not [text for text in texts if native(prose(text), "en")[1]]
