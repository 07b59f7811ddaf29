"""A language model behind any server that speaks the OpenAI protocol as a judge."""

from __future__ import annotations

from dataclasses import replace

from rlaif_judges.backends.openai import OpenAI
from rlaif_judges.backends.server import Server
from rlaif_judges.economy.budget import Economy
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.opening import Accountable


class OpenAIJudge(Accountable):
    """The model `model` of the server at `base_url`: vLLM, SGLang, llama.cpp, `transformers serve`, OpenAI itself.

    It is asked for a choice among labels and read by the probabilities of these, where the server gives them; see
    `read`. Every reply is kept and never paid for twice; a server that is down is waited for.
    """

    def __init__(
        self, model: str, *, server: Server = Server(), hygiene: Hygiene = Hygiene(), economy: Economy = Economy()
    ) -> None:
        priced = bool(server.price_in or server.price_out)
        super().__init__(OpenAI(replace(server, model=model)), model, hygiene, economy, priced=priced)
