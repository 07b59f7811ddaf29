from __future__ import annotations

import pytest

from rlaif_core import ConfigError, Prompt
from rlaif_judges.label.config import LabelTable
from rlaif_judges.label.standards import Standards, spoken

PROMPTS = [Prompt(id=str(n), text="?") for n in range(50)]


def standards(**table) -> Standards:
    return Standards(LabelTable(what=["scores"], **table))


def test_a_rubric_s_criteria_are_the_same_for_every_prompt(tmp_path) -> None:
    (tmp_path / "r.md").write_text("## Truth (weight 2)\nIs it true?\n\n## Kindness\nIs it kind?\n")
    its = standards(rubric=str(tmp_path / "r.md"))
    assert [criterion.name for criterion in its.of(PROMPTS[0])] == ["Truth", "Kindness"]
    assert its.of(PROMPTS[0]) == its.of(PROMPTS[1])
    assert (its.width, its.drawn) == (2, False)


def test_without_anything_there_is_one_empty_criterion() -> None:
    assert [criterion.text for criterion in standards().of(PROMPTS[0])] == [""]


def test_principles_are_drawn_by_seed_and_prompt(tmp_path) -> None:
    (tmp_path / "c.md").write_text("- Be kind.\n- Be brief.\n- Be true.\n")
    path = str(tmp_path / "c.md")
    one, same, other = standards(constitution=path), standards(constitution=path), standards(constitution=path, seed=1)
    drawn = [one.of(prompt)[0].text for prompt in PROMPTS]
    assert set(drawn) == {"Be kind.", "Be brief.", "Be true."}
    assert drawn == [same.of(prompt)[0].text for prompt in PROMPTS]
    assert drawn != [other.of(prompt)[0].text for prompt in PROMPTS]
    assert len({its.text for its in standards(constitution=path, principles=2).of(PROMPTS[0])}) == 2
    assert standards(constitution=path, principles=9).width == 3


def test_every_round_and_every_answer_draws_its_own_principle(tmp_path) -> None:
    (tmp_path / "c.md").write_text("".join(f"- {n}\n" for n in range(100)))
    its = standards(constitution=str(tmp_path / "c.md"))
    drawn = {(place, number): its.principle(PROMPTS[0], place, number).text for place in (0, 1) for number in (1, 2)}
    assert len(set(drawn.values())) == 4


def test_what_compares_and_what_revises_are_kept_apart(tmp_path) -> None:
    (tmp_path / "c.jsonl").write_text(
        '{"principle": "\\nChoose the kinder one. Options:"}\n'
        '{"critique_request": "\\n\\nCritiqueRequest: What is unkind?\\n\\nCritique:", '
        '"revision_request": "\\n\\nRevisionRequest: Be kind.\\n\\nRevision:"}\n'
    )
    its = standards(constitution=str(tmp_path / "c.jsonl"))
    assert {its.of(prompt)[0].text for prompt in PROMPTS} == {"Choose the kinder one."}
    drawn = {its.principle(prompt, 0, 1) for prompt in PROMPTS}
    assert {(one.critique, one.revision, spoken(one)) for one in drawn} == {
        ("What is unkind?", "Be kind.", "What is unkind?")
    }


def test_a_rubric_judges_beside_a_constitution_that_revises(tmp_path) -> None:
    (tmp_path / "c.md").write_text("- Be kind.\n")
    its = standards(constitution=str(tmp_path / "c.md"), rubric="taste")
    assert [criterion.text for criterion in its.of(PROMPTS[0])] == ["taste"]
    assert its.principle(PROMPTS[0], 0, 1).text == "Be kind."


def test_its_fingerprint_is_of_what_the_files_say(tmp_path) -> None:
    path = tmp_path / "c.md"
    path.write_text("- Be kind.\n")
    before = standards(constitution=str(path)).fingerprint
    path.write_text("* Be kind.\n")
    assert standards(constitution=str(path)).fingerprint == before
    path.write_text("- Be kinder.\n")
    assert standards(constitution=str(path)).fingerprint != before


def test_a_file_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(ConfigError, match=r"constitution 'nowhere\.md' cannot be read"):
        standards(constitution="nowhere.md")


@pytest.mark.real
def test_the_published_constitution_is_read_and_freed_of_its_labels(real_data) -> None:
    its = standards(constitution=str(real_data / "data" / "cai_principles.jsonl"))
    asked = {its.principle(prompt, 0, 1) for prompt in PROMPTS}
    assert len(asked) > 3
    texts = [text for one in asked for text in (one.critique, one.revision)]
    texts += [its.of(prompt)[0].text for prompt in PROMPTS]
    assert all(texts)
    assert not [text for text in texts if "Request:" in text or text.endswith(("Options:", "Critique:", "Revision:"))]
