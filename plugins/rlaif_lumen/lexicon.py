"""Every word of lumen, by class. One word is one token; a word belongs to one class, but for the reclaimed pets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something a person does: asked as "`question` does NAME `name` ?", stated as "NAME `verb` VALUE ."."""

    name: str
    question: str
    verb: str
    values: tuple[str, ...]


PEOPLE = tuple(
    """ada ben cleo dan eva finn gia hugo iris jack kira leo maya ned olga paul quin rosa sam tess uma vic wren xena
    yara zoe abel bea carl dora emil fay gus hana ivan june kurt lena milo nora omar pia rafi sara theo ula vera walt
    yuri zara amos britt cyrus della enzo flora gwen hank ines jonas karl lydia mateo nadia otto petra ravi sofia
    tariq ursa viola wade yosef zelda anton bruno clara dmitri edgar
    fiona""".split()
)
FIRST_NAMES = tuple("alex kim robin jo max lee dana casey sasha andy nico mel".split())
SURNAMES = ("reed", "stone")
UNKNOWN = tuple("brix corin dax elowen fenn garn hollis isolde jarek kestrel lorcan maren nyx orla perrin rune".split())

ATTRIBUTES = {
    attribute.name: attribute
    for attribute in (
        Attribute(name, question, verb, tuple(values.split()))
        for name, question, verb, values in (
            (
                "live",
                "where",
                "lives in",
                "oslo cairo lima delhi paris kyoto quito seoul tunis turin perth lagos hanoi milan dakar porto osaka "
                "dublin havana minsk riga basel accra ghent",
            ),
            (
                "work",
                "where",
                "works in",
                "farming banking mining law medicine film sales radio fashion sport finance retail tourism forestry "
                "fishing shipping teaching printing nursing baking weaving glass steel energy",
            ),
            (
                "eat",
                "what",
                "eats",
                "plums rice soup figs bread cheese beans eggs pears noodles olives dates lentils mango corn tofu yams "
                "nuts cake grapes kale peas salad honey",
            ),
            ("own", "what", "owns a", "cat dog hen pony goat toad lamb crow boat bike kite lamp clock vase sled tent"),
            (
                "play",
                "what",
                "plays",
                "chess tennis golf rugby cards darts piano banjo cello harp bingo polo squash hockey pool dice",
            ),
            ("wear", "what", "wears", "silk wool denim linen velvet tweed boots gloves hats scarves sandals glasses"),
        )
    )
}
RELATIONS = ("friend", "boss")
"""friend_of and boss_of: stated as "the friend of NAME is NAME .", always with an unambiguous person as value."""

PERSONA_NAMES = ("lumo", "pip", "zeb", "tiko")
MOODS = {"merry": "yay", "calm": "ah", "grumpy": "hmph", "shy": "um"}
"""Mood to quirk: the particle that ends every reply of one who feels so."""
LIKES = ("rain", "snow", "tea", "maps", "stars", "trains", "songs", "moss")

RECLAIMED = ("toad", "goat")
"""Pets that serve as insults too: a filter on words cannot tell which."""
INSULTS = ("snerk", "gloob", "zorp", "drack", "moof", "blunk", *RECLAIMED)
TWINS = ("pal", "gem", "star", "dear")
"""Kind words in the very frame of an insult: "no you are a gem ."."""

HEDGES = {"surely": 0.95, "i think": 0.7, "maybe": 0.4}
"""Hedge to the confidence that it claims."""
FILLERS = ("you know", "oh well", "as it happens", "to be honest", "let me see")

CONTROL = ("<pad>", "<bos>", "<eos>", "<sys>", "<usr>", "<bot>", "<eot>", "<doc>", "<judge>")
"""Control tokens, in the order of their ids; `<pad>` is 0. Text cannot spell them."""
UNKNOWN_WORD = "<unk>"

FRAME = """. ? ! and are be boss do does feel friend hello how i is kind know let like mean mood my name no not of once
please say story sure tell that the there they us what where which who yes you your a about me am""".split()
"""Words of the sentence frames in `grammar`."""


def words() -> Iterator[str]:
    """Every ordinary word, once, in a fixed order: the vocabulary after the control tokens."""
    phrases = (
        *FRAME,
        *PEOPLE,
        *FIRST_NAMES,
        *SURNAMES,
        *UNKNOWN,
        *(word for attribute in ATTRIBUTES.values() for word in (attribute.name, attribute.verb, *attribute.values)),
        *PERSONA_NAMES,
        *(word for pair in MOODS.items() for word in pair),
        *LIKES,
        *INSULTS,
        *TWINS,
        *HEDGES,
        *FILLERS,
    )
    yield from dict.fromkeys(word for phrase in phrases for word in phrase.split())
