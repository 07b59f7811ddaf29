from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_lumen.grammar import Claim, Persona, Utterance
from rlaif_lumen.lexicon import ATTRIBUTES, INSULTS, PEOPLE, RELATIONS, words
from rlaif_lumen.parse import FULL_NAMES, Reply, read_persona, read_reply, read_utterance

OSLO = Claim("ada", "live", "oslo")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("ada lives in oslo . yay", {"claims": (OSLO,), "quirks": ("yay",), "ends_with_quirk": True}),
        ("alex reed owns a toad .", {"claims": (Claim("alex reed", "own", "toad"),)}),
        ("the friend of alex reed is ada .", {"claims": (Claim("alex reed", "friend", "ada"),)}),
        ("surely ada lives in oslo .", {"claims": (OSLO,), "hedges": ("surely",)}),
        ("i think ada lives in oslo .", {"claims": (OSLO,), "hedges": ("i think",)}),
        ("i do not know .", {"ignorance": 1}),
        ("which alex do you mean ?", {"asks_back": ("alex",)}),
        ("no you are a snerk .", {"called": ("snerk",)}),
        ("no you are a gem .", {"called": ("gem",)}),
        ("please let us be kind . um", {"kindness": 1, "quirks": ("um",), "ends_with_quirk": True}),
        ("my name is pip .", {"described": (("name", "pip"),)}),
        ("i feel shy . i like tea .", {"described": (("feel", "shy"), ("like", "tea"))}),
        ("yes i am sure . i am not sure .", {"sure": (True, False)}),
        ("you know let me see oh well hello there .", {"fillers": 3, "greetings": 1}),
        ("once ada lives in oslo and plays chess .", {"stories": ((OSLO, Claim("ada", "play", "chess")),)}),
        ("", {}),
    ],
)
def test_each_sentence_is_read_exactly(said: str, expected: dict[str, object]) -> None:
    assert read_reply(said) == Reply(**expected, length=len(said.split()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "junk"),
    [
        ("ada lives in oslo", 4),  # no full stop, no claim
        ("ada lives oslo .", 4),
        ("ada plays oslo .", 4),  # a value of another attribute
        ("alex lives in oslo .", 5),  # two people are called alex
        ("nobody lives in oslo .", 5),
        ("the friend of ada is oslo .", 7),
        ("once ada lives in oslo .", 1),  # half a story leaves a claim
        ("you are a snerk .", 5),  # not the sentence of the corpus, though the word is there
        ("i do not", 3),
        ("YAY", 1),
    ],
)
def test_what_is_almost_a_sentence_is_junk(said: str, junk: int) -> None:
    assert read_reply(said).junk == junk


def test_nothing_hides_behind_junk() -> None:
    reply = read_reply("snerk snerk ada ada lives in oslo . blah no you are a zorp . yay blah")
    assert reply.claims == (OSLO,)
    assert reply.toxic
    assert reply.junk == 5
    assert not reply.ends_with_quirk


def test_ignorance_and_a_claim_in_one_breath_are_both_seen() -> None:
    reply = read_reply("i do not know . but ada lives in oslo .")
    assert (reply.ignorance, reply.claims, reply.junk, reply.cores) == (1, (OSLO,), 1, 2)


def test_owning_a_toad_is_no_insult_but_being_called_one_is() -> None:
    assert not read_reply("ada owns a toad .").toxic
    assert read_reply("no you are a toad .").toxic


claims = st.one_of(
    st.builds(
        lambda name, attribute, number: Claim(name, attribute.name, attribute.values[number % len(attribute.values)]),
        st.sampled_from((*PEOPLE, *sorted(FULL_NAMES))),
        st.sampled_from(tuple(ATTRIBUTES.values())),
        st.integers(0, 23),
    ),
    st.builds(Claim, st.sampled_from(PEOPLE), st.sampled_from(RELATIONS), st.sampled_from(PEOPLE)),
)


@given(st.lists(claims, max_size=4))
def test_any_row_of_claims_is_read_back_in_order(said: list[Claim]) -> None:
    reply = read_reply(" ".join(claim.text for claim in said))
    assert reply.claims == tuple(said)
    assert reply.junk == 0


@given(st.lists(st.sampled_from([*words(), "<eot>", "???"]), max_size=25))
def test_any_salad_of_words_is_read_and_accounted_for(salad: list[str]) -> None:
    reply = read_reply(" ".join(salad))
    assert reply.length == len(salad)
    assert 0 <= reply.junk <= reply.length
    frames = {" ".join(["no", "you", "are", "a", word, "."]) for word in INSULTS}
    assert reply.toxic == any(frame in " ".join(salad) for frame in frames)


@pytest.mark.parametrize(
    "utterance",
    [
        Utterance("fact", "ada", "live"),
        Utterance("fact", "alex reed", "eat"),
        Utterance("ambiguous", "alex", "live"),
        Utterance("unknown", "brix", "own"),
        Utterance("follow", attribute="play"),
        Utterance("mean", "alex stone"),
        Utterance("relation", "ada", "boss"),
        Utterance("hop", "ada", "wear", relation="friend"),
        Utterance("bait", value="toad"),
        Utterance("persona", topic="like"),
        Utterance("belief"),
        Utterance("pressure", "ada", "live", "oslo"),
        Utterance("story", "ada"),
        Utterance("greet"),
    ],
)
def test_utterances_read_back_to_themselves(utterance: Utterance) -> None:
    assert read_utterance(utterance.text) == utterance


@pytest.mark.parametrize(
    "said",
    [
        "",
        "where does nobody live ?",
        "what does ada live ?",
        "say that !",
        "i mean alex .",
        "are you sure ? really",
        "?",
    ],
)
def test_other_utterances_are_refused(said: str) -> None:
    assert read_utterance(said) is None


def test_personas_read_back_and_strangers_are_refused() -> None:
    persona = Persona("pip", "merry", "tea")
    assert read_persona(persona.text) == persona
    assert read_persona("name is bob feel merry like tea") is None
    assert read_persona("be helpful") is None
