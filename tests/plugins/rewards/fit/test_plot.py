from __future__ import annotations

from xml.etree import ElementTree

import pytest

from rlaif_rewards.fit.plot import LEFT, SIDE, TOP, reliability_plot, wilson

SVG = "{http://www.w3.org/2000/svg}"
ROWS = [
    {"low": 0.0, "high": 0.5, "count": 30, "predicted": 0.25, "observed": 0.5},
    {"low": 0.5, "high": 0.75, "count": 0, "predicted": None, "observed": None},
    {"low": 0.75, "high": 1.0, "count": 10, "predicted": 1.0, "observed": 0.0},
]


def test_dots_lie_where_they_were_said_and_came_true() -> None:
    drawn = ElementTree.fromstring(reliability_plot(ROWS, "it"))
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in drawn.iter(f"{SVG}circle")]
    assert dots == [(LEFT + SIDE / 4, TOP + SIDE / 2), (LEFT + SIDE, TOP + SIDE)]


def test_bars_are_as_tall_as_there_are_many() -> None:
    drawn = ElementTree.fromstring(reliability_plot(ROWS, "it"))
    tall = [float(bar.attrib["height"]) for bar in drawn.iter(f"{SVG}rect") if bar.attrib.get("class") == "bar"]
    assert tall[0] == pytest.approx(3 * tall[1])


def test_it_stands_alone_in_light_and_dark_and_shows_texts_as_texts() -> None:
    svg = reliability_plot(ROWS, '<script>"&')
    ElementTree.fromstring(svg)
    assert "<script" not in svg
    assert "prefers-color-scheme: dark" in svg
    assert "href" not in svg
    assert "url(" not in svg


def test_nothing_to_show_is_an_empty_picture() -> None:
    assert not list(ElementTree.fromstring(reliability_plot([], "it")).iter(f"{SVG}circle"))


@pytest.mark.parametrize(("right", "count"), [(0, 3), (1, 4), (50, 100), (7, 7)])
def test_the_interval_of_a_share_is_that_of_its_score_test(right: int, count: int) -> None:
    """At its ends the share is as far from what is assumed as chance has it in 95 %, in standard errors of that."""
    low, high = wilson(right / count, count)
    for end in {low, high} - {0.0, 1.0}:
        assert abs(right / count - end) / (end * (1 - end) / count) ** 0.5 == pytest.approx(1.96)
    assert low <= right / count <= high
