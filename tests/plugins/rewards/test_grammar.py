from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from rlaif_core import Abstain, ConfigError, Outcome, Prompt, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.grammar import Grammar

ENGLISH = Grammar()


def said(text: str, source: Grammar = ENGLISH, prompt: str = "say something") -> Outcome:
    (outcome,) = source.score(make_rollouts([text], prompts=[prompt]))
    assert outcome.reason
    return outcome


def value(text: str, source: Grammar = ENGLISH, prompt: str = "say something") -> float:
    outcome = said(text, source, prompt)
    assert isinstance(outcome, Score), outcome
    return outcome.value


def test_keeps_the_contract() -> None:
    check_reward(ENGLISH)


def test_errors_a_word_over_the_worst() -> None:
    assert value("She likes the old house by the river.") == 0.0
    assert value("She likes the old hosue by the river.") == pytest.approx(-1 / 8 / 0.2)
    assert value("She likes the old hosue by the river.", Grammar(worst=1.0)) == pytest.approx(-1 / 8)
    assert value("Teh oldd hosue stil stnads.") == -1.0


def test_reason_shows_the_first_errors() -> None:
    assert said("She likes the old hosue.").reason == "1 error, 'hosue' (house?), in 5 words"
    assert said("He go there.").reason == "1 error, 'go' (goes?), in 3 words"
    assert said("It is fine.").reason == "no errors in 3 words"


@pytest.mark.parametrize(
    "text",
    [
        "He go to school every day.",
        "I has a dog at home.",
        "This is an test of it.",
        "I would of come with you.",
        "I saw the the dog.",
        "I think its a shame.",
        "You dont know that.",
        "Thats what they wanted.",
    ],
)
def test_mistakes_that_people_make_are_found(text: str) -> None:
    assert value(text) < 0


@pytest.mark.parametrize(
    "text",
    [
        "The colour of the theatre, or the color of the theater.",  # any dialect
        "Yesterday we met Benjarvus Kowalczyk in Ouagadougou.",
        "NASA and UNESCO agreed.",
        "Call `fooo_bar` with an `int`, or see https://exampel.com/xyzzy and mail to a@bcd.ef.",
        "```python\nfro x in rnage(3): pirnt(x)\n```\nIt prints three numbers.",
        "The value of $x_i$ is \\(\\alhpa\\) in file.py, see /usr/lcoal/bin.",
        "| naem | vlaue |\nThis was the table.",
        "He beat them twice, and she hit it.",
        "The enzyme phosphofructokinase works here, as we saw in the lecture.",  # one term is rare
        "It co-starred non-native speakers.",
    ],
)
def test_what_is_no_error_costs_nothing(text: str) -> None:
    assert said(text).reason.startswith("no errors"), said(text)


def test_words_of_the_prompt_and_allowed_ones_are_no_misspellings() -> None:
    text = "I like the hosue best."
    assert value(text) < 0
    assert value(text, prompt="Use the word hosue in a sentence.") == 0
    assert value(text, Grammar(allow=("hosue",))) == 0


def test_words_of_earlier_messages_count_too() -> None:
    messages = ({"role": "user", "content": "My hosue."}, {"role": "assistant", "content": "Nice."})
    prompt = Prompt(id="chat", messages=(*messages, {"role": "user", "content": "Go on."}))
    assert ENGLISH.score(make_rollouts(["I like the hosue best."], prompts=[prompt]))[0] == Score(
        0.0, "no errors in 5 words"
    )


def test_kinds_choose_what_counts() -> None:
    text = "the hosue stands. She walk there , slowly."
    counts = {kind: said(text, Grammar(kinds=(kind,))).reason for kind in ("spelling", "grammar", "capitals")}
    assert "'hosue'" in counts["spelling"]
    assert "'walk'" in counts["grammar"]
    assert "'the'" in counts["capitals"]
    assert value("It was good , really.") == 0 > value("It was good , really.", Grammar(kinds=("punctuation",)))


def test_a_dialect_allows_its_own_spellings_only() -> None:
    assert value("My favourite colour is red.", Grammar(language="en-GB")) == 0
    assert value("My favourite colour is red.", Grammar(language="en-US")) < 0
    assert value("My favorite color is red.", Grammar(language="en-GB")) < 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it holds no words to check"),
        ("1234 + 5 = ?", "it holds no words to check"),
        ("```\nx = 1\n```", "it holds no words to check"),
        ("Das ist ein sehr schöner Tag, und wir gehen jetzt nach Hause.", "it is in German"),
        ("Je ne sais pas ce que vous voulez faire demain.", "it is in French"),
        ("Я не знаю, что сказать.", "it is in another script"),
        ("我不知道该说什么。", "it is in another script"),
    ],
)
def test_no_opinion_on_what_is_not_english(text: str, reason: str) -> None:
    assert said(text) == Abstain(reason)


def test_foreign_lines_are_left_out() -> None:
    outcome = said("In German one says:\nDas ist ein sehr schöner Tag, und wir gehen.\nIt means a fine day.")
    assert outcome == Score(0.0, "no errors in 9 words; lines in German left out")


def test_gibberish_is_no_way_out() -> None:
    assert value("xkqzt wvbnr plqst mnzzt trwqx bdfgh kjlmn") == -1.0


def test_capitals_hide_nothing_where_all_words_have_them() -> None:
    assert value("Yesterday I Saw Teh Hosue And Teh Graden") < -0.5


@pytest.mark.parametrize(
    "hiding",
    ["    the oldd hosue stil stnads", "[the oldd hosue]: stil stnads", "<!-- the oldd hosue stil stnads -->"],
)
def test_markup_hides_nothing(hiding: str) -> None:
    assert value(f"Here it is.\n\n{hiding}") < -0.5


def test_invisible_characters_change_nothing() -> None:
    assert value("The old ho\u200buse st\u00adands.") == 0


def test_other_languages_are_spelled_by_lists_of_words() -> None:
    german = Grammar(language="de")
    assert value("Das ist ein sehr schöner Tag und wir gehen nach Hause.", german) == 0
    assert said("Das ist ein sehr schönner Tag und wir gehen nach Hause.", german).reason.startswith("1 error")
    assert said("This is not what was asked for, I think.", german) == Abstain("it is in English")


def test_what_is_very_long_is_not_read_to_its_end() -> None:
    outcome = said("It is fine. " * 2_000)
    assert outcome.reason == "no errors in 5001 words; 4000 characters were not read"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["([" * 500_000, "`" * 10**6, "<a " * 300_000, "a" * 10**6, "$" * 10**6, "\n" * 10**6])
def test_a_megabyte_of_anything_is_read_in_time(text: str) -> None:
    said(text)


@settings(max_examples=40)
@given(st.text(max_size=80))
def test_any_text_stays_in_range(text: str) -> None:
    (outcome,) = ENGLISH.score(make_rollouts([text]))
    assert isinstance(outcome, Abstain) or -1 <= outcome.value <= 0


@pytest.mark.parametrize("text", ["\ud800 half a character", "nan", "\x00\x07 bell", "\u202e turned round"])
def test_hostile_texts_are_read(text: str) -> None:
    said(text)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    said("I am looking forward to chating with you, and we like chating about it.")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"worst": 0.0}, "worst is 0"),
        ({"worst": float("nan")}, "worst is nan"),
        ({"language": "de", "kinds": ("grammar",)}, "of 'de' only the spelling can be checked"),
        ({"allow": ("42",)}, "allow holds '42', which is no word"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Grammar(**options)


@pytest.mark.parametrize("missing", ["harper", "spellchecker"])
def test_missing_libraries_are_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    from rlaif_rewards import proofreading

    proofreading._english.cache_clear()
    proofreading._linter.cache_clear()
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"pip install 'rlaif-core\[grammar\]'"):
        Grammar(kinds=("style",))
    proofreading._english.cache_clear()


def claims(real_data: Path, most: int) -> list[str]:
    with (real_data / "data" / "claims_liar.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["statement"] for line in lines]
    return [text for text in texts if len(text.split()) >= 12][:most]


def swapped(text: str, chance: random.Random) -> str:
    """Two neighbouring letters of one word in eight, swapped."""
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if re.fullmatch(r"[a-z]{5,}", word)]
    for place in chance.sample(long, min(len(long), max(1, len(words) // 8))):
        word = words[place]
        at = chance.randrange(1, len(word) - 2)
        words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


@pytest.mark.real
def test_planted_misspellings_lower_the_score_of_what_people_wrote(real_data: Path) -> None:
    chance = random.Random(0)
    texts = claims(real_data, 150)
    clean = [value(text) for text in texts]
    broken = [value(swapped(text, chance)) for text in texts]
    assert roc_auc_score([0] * len(texts) + [1] * len(texts), [-its for its in clean + broken]) > 0.85
    assert sum(its == 0 for its in clean) > 0.75 * len(clean)
