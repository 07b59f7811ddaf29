from __future__ import annotations

from typing import Any

import pytest

from rlaif_core import ConfigError
from rlaif_judges.forms import Style
from rlaif_judges.hygiene import Hygiene

NAN = float("nan")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"votes": 0}, "votes is 0, but must be at least 1"),
        ({"votes": 3}, "3 votes at temperature 0 would all be the same; set temperature = 0.7, or votes = 1"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": 2.1}, "temperature is 2.1"),
        ({"temperature": NAN}, "temperature is nan"),
        ({"levels": 1}, "levels is 1, but must be 2 to 9"),
        ({"levels": 10}, "levels is 10, but must be 2 to 9"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"confidence": NAN}, "confidence is nan"),
        ({"reason_tokens": 0}, "reason_tokens is 0"),
        ({"longest": 99}, "longest is 99"),
        ({"orders": "one", "flips": "tie"}, "flips = 'tie' needs both orders"),
        ({"orders": "one", "flips": "abstain"}, "flips = 'abstain' needs both orders"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Hygiene(**options)


def test_the_forms_get_what_they_need_of_it() -> None:
    given = Hygiene(orders="one", levels=3, ties=True, framed=False, longest=100)
    assert given.style == Style(orders=1, levels=3, ties=True, framed=False, longest=100)
    assert Hygiene().style == Style()
