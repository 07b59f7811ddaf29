"""Every config in the guides is one: its tables, keys and options are those of the verb that its first line names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from rlaif_core.config import RunConfig, Tables
from rlaif_core.plugins import Plugins
from rlaif_core.references import handed, in_order
from rlaif_core.run import check
from rlaif_fusion.config import FuseConfig
from rlaif_judges.exam.config import ExamConfig
from rlaif_judges.label.config import LabelConfig
from rlaif_rewards.fit.config import FitConfig

GUIDES = Path(__file__).resolve().parents[2] / "docs"
KINDS: dict[str, type[Tables]] = {
    "run": RunConfig,
    "judge": ExamConfig,
    "label": LabelConfig,
    "fuse": FuseConfig,
    "fit": FitConfig,
}
SNIPPETS = [
    pytest.param(kind, text, id=f"{guide.stem}-{kind}-{number}")
    for guide in sorted(GUIDES.glob("*.md"))
    for number, (text, kind) in enumerate(
        re.findall(r"```toml\n(# (\w+):.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    )
]


def test_every_snippet_says_which_verb_it_is_for() -> None:
    texts = [guide.read_text(encoding="utf-8") for guide in GUIDES.glob("*.md")]
    assert sum(text.count("```toml") for text in texts) == len(SNIPPETS) > 0


@pytest.mark.parametrize(("kind", "text"), SNIPPETS)
def test_a_config_holds_what_its_verb_knows(kind: str, text: str) -> None:
    plugins = Plugins.load()
    config = KINDS[kind].of(tomllib.loads(text), f"the config of {kind}")
    if isinstance(config, RunConfig):
        check(config, plugins)
    judges = getattr(config, "judges", {})
    for name in in_order(judges, plugins):
        use = judges[name]
        objects = handed(plugins.find("judges", use.use), use.options, judges)
        plugins.options("judges", use.use, {**use.options, **objects}, objects=objects)


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("*.md")), ids=lambda path: path.stem)
def test_links_lead_somewhere(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", guide.read_text(encoding="utf-8")):
        assert (guide.parent / target).exists(), target


def test_every_reward_and_judge_is_in_the_guide() -> None:
    text = (GUIDES / "feedback.md").read_text(encoding="utf-8")
    offered = [listing.offer.name for kind in ("judges", "rewards") for listing in Plugins.load().listings(kind)]
    assert not [name for name in offered if f"`{name}`" not in text and name not in ("tiny", "recorded")]
