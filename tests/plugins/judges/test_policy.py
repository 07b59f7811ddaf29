from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from checkpoints import checkpoint
from judging import ask
from rlaif_core import ConfigError, Failed, Prompt, Score
from rlaif_core.policy import TransformersPolicy
from rlaif_core.testing import FakePolicy, check_judge
from rlaif_judges.asking import Message, Request
from rlaif_judges.backends.local import Local
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.policy import PolicyJudge

WORDS = ("A", "B", "C", "1", "2", "3", "4", "5", "Answer", "with", "alone.", "x", "y")


@pytest.fixture
def policy() -> FakePolicy:
    return FakePolicy(WORDS, seed=3)


def request(text: str = "x y", options: tuple[str, ...] = ("A", "B"), **more) -> Request:
    return Request(
        messages=(Message(role="system", content="x"), Message(role="user", content=text)), options=options, **more
    )


def moved(policy: FakePolicy, by: float) -> None:
    """An update as an optimiser makes it."""
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.add_(by)
    policy.version += 1


def replies(policy: FakePolicy, *requests: Request, **options) -> list:
    local = Local(policy, identity={}, **options)
    found = dict(local.answer(iter(enumerate(requests))))
    return [found[number] for number in range(len(requests))]


def test_an_options_probability_is_that_of_saying_it_and_nothing_else(policy: FakePolicy) -> None:
    (reply,) = replies(policy, request())
    prompt = Prompt(
        id="p",
        messages=({"role": "system", "content": "x"}, {"role": "user", "content": "x y Answer with A or B alone."}),
    )
    rollouts = policy.sampler(seed=0, step=0, group=1).recorded([prompt], [["A", "B"]])
    p = rollouts.logp.double().sum(1).exp()
    assert reply.probabilities == pytest.approx((p / p.sum()).tolist())
    assert reply.mass == pytest.approx(float(p.sum()))
    assert reply.text == "AB"[int(p.argmax())]


def test_neither_batch_nor_company_changes_a_reply(policy: FakePolicy) -> None:
    many = [request("x"), request("y x y"), request(options=("1", "2", "3")), request("y", ("1", "2", "3"))]
    one_by_one = [reply for each in many for reply in replies(policy, each, batch=1)]
    for alone, together in zip(one_by_one, replies(policy, *many, batch=4), strict=True):
        assert alone.probabilities == pytest.approx(together.probabilities, abs=1e-6)


def test_requests_are_taken_as_there_is_room(policy: FakePolicy) -> None:
    taken = []

    def supply():
        for number in range(5):
            taken.append(number)
            yield number, request()

    answers = Local(policy, identity={}, batch=2).answer(supply())
    next(answers)
    assert taken == [0, 1]


def test_too_little_on_the_options_is_no_choice(policy: FakePolicy) -> None:
    (reply,) = replies(policy, request(), mass=0.999)
    assert isinstance(reply, Failed)
    assert "of the judge's probability was on A, B" in reply.reason


def test_texts_are_written_greedily_or_drawn_by_seed(policy: FakePolicy) -> None:
    greedy = [request(options=(), max_tokens=6)] * 2
    assert len({reply.text for reply in replies(policy, *greedy)}) == 1
    drawn = [request(options=(), max_tokens=8, temperature=1.0, seed=seed) for seed in (0, 0, 1, 2, 3)]
    texts = [reply.text for reply in replies(policy, *drawn)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


def test_texts_that_are_to_be_written_differently_in_one_batch_are(policy: FakePolicy) -> None:
    options = [{"max_tokens": 1}, {"max_tokens": 8}, {"temperature": 1.0, "seed": 1}, {"temperature": 1.0, "seed": 2}]
    each = [request(options=(), **({"max_tokens": 8} | its)) for its in options]
    assert [its.text for its in replies(policy, *each)] == [its.text for one in each for its in replies(policy, one)]


def test_greedy_is_what_is_likeliest_whatever_the_seed(policy: FakePolicy) -> None:
    each = [request(options=(), max_tokens=8, seed=seed) for seed in range(5)]
    assert len({reply.text for reply in replies(policy, *each)}) == 1


def test_the_contract_of_a_judge_holds(policy: FakePolicy) -> None:
    check_judge(PolicyJudge(policy))


def said(judge: PolicyJudge) -> float:
    (verdict,) = judge.ask([ask("x", form="score")])
    assert isinstance(verdict.outcomes[0], Score)
    return verdict.outcomes[0].value


def test_what_judges_is_the_policy_as_it_is_or_as_it_was(policy: FakePolicy) -> None:
    now, start = PolicyJudge(policy, weights="now"), PolicyJudge(policy, weights="start")
    before = said(now)
    assert said(start) == before
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.add_(torch.randn_like(parameter))
    policy.version += 1
    assert said(now) != before
    assert said(start) == before


def test_the_policy_is_untouched_by_being_asked(policy: FakePolicy) -> None:
    judge = PolicyJudge(policy, weights="start")
    moved(policy, 0.1)
    weights = copy.deepcopy(policy.module.state_dict())
    counters = [parameter._version for parameter in policy.module.parameters()]
    said(judge)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in policy.module.state_dict().items())
    assert [parameter._version for parameter in policy.module.parameters()] == counters


def test_the_weights_come_back_also_where_the_judge_cannot_answer(policy: FakePolicy) -> None:
    judge = PolicyJudge(policy, weights="start")
    moved(policy, 0.1)
    own = [parameter.data_ptr() for parameter in policy.module.parameters()]
    seen = []

    def broken(**_):
        seen.extend(parameter.data_ptr() for parameter in policy.module.parameters())
        raise RuntimeError("out of memory")

    policy.sampler = broken
    with pytest.raises(RuntimeError, match="out of memory"):
        said(judge)
    assert not set(seen) & set(own)
    assert [parameter.data_ptr() for parameter in policy.module.parameters()] == own


@pytest.mark.parametrize("updates", [1, 3])
def test_the_average_follows_by_its_decay_at_every_update(policy: FakePolicy, updates: int) -> None:
    judge = PolicyJudge(policy, weights="average", decay=0.9)
    start = {name: parameter.detach().clone() for name, parameter in policy.module.named_parameters()}
    for _ in range(updates):
        moved(policy, 0.0)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.add_(1.0)
    said(judge)
    said(judge)  # once asked it has followed
    for name, kept in judge.state_dict()["kept"].items():
        torch.testing.assert_close(kept, start[name] + (1 - 0.9**updates))


def test_its_memory_can_be_saved_and_taken_up(policy: FakePolicy) -> None:
    judge = PolicyJudge(policy, weights="average", decay=0.5)
    moved(policy, 0.3)
    value = said(judge)
    fresh = FakePolicy(WORDS, seed=3)
    other = PolicyJudge(fresh, weights="average", decay=0.5)
    other.load_state_dict(copy.deepcopy(judge.state_dict()))
    fresh.load_state_dict(policy.state_dict())
    assert said(other) == value


def test_reasons_come_from_the_same_weights(policy: FakePolicy) -> None:
    judge = PolicyJudge(policy, weights="start", hygiene=Hygiene(reasons=True, reason_tokens=5))
    before = judge.ask([ask("x", form="score")])
    moved(policy, 0.5)
    assert judge.ask([ask("x", form="score")]) == before


@pytest.mark.parametrize(("options", "complaint"), [({"decay": 1.0}, "decay is 1.0"), ({"batch": 0}, "batch is 0")])
def test_wrong_options_are_refused(policy: FakePolicy, options: dict, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        PolicyJudge(policy, **options)


def test_the_average_of_half_precision_moves_by_steps_that_half_precision_cannot_hold(policy: FakePolicy) -> None:
    policy.module.to(torch.bfloat16)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.fill_(1.0)
    judge = PolicyJudge(policy, weights="average", decay=0.9)
    moved(policy, 0.0078125)  # the next number above 1
    for _ in range(100):
        moved(policy, 0.0)
        said(judge)
    for kept in judge.state_dict()["kept"].values():
        torch.testing.assert_close(
            kept.float(), torch.full_like(kept, 1.0078125, dtype=torch.float32), atol=1e-4, rtol=0
        )


def test_what_it_writes_comes_from_the_average_as_it_is_now(policy: FakePolicy) -> None:
    """Critiques are asked for without a question before them."""
    judge = PolicyJudge(policy, weights="average", decay=0.0)
    asked = [request(options=(), max_tokens=8)]
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.add_(torch.randn_like(parameter))
    policy.version += 1
    (text,) = judge.write(asked)
    (now,) = PolicyJudge(policy, weights="now").write(asked)
    assert text.text == now.text
    for name, parameter in policy.module.named_parameters():
        torch.testing.assert_close(judge.state_dict()["kept"][name], parameter.detach())


@pytest.mark.parametrize("options", [{}, {"lora": {"r": 2}}, {"tied": True}])
def test_a_real_model_judges_and_writes_with_the_weights_of_the_start(options: dict, tmp_path: Path) -> None:
    """Adapters, tied embeddings, and generation in C++ that arranges weights for itself included."""
    folder = checkpoint(tmp_path, "llama", **({"tie_word_embeddings": True} if options.pop("tied", False) else {}))
    policy = TransformersPolicy(folder, device="cpu", **options)
    judge = PolicyJudge(policy, weights="start", hygiene=Hygiene(reasons=True, reason_tokens=6))
    texts = [request(options=(), max_tokens=8)]
    before, wrote = judge.ask([ask("a", "b")]), judge.write(texts)
    torch.manual_seed(0)
    for _ in range(2):
        with torch.no_grad():
            for parameter in policy.module.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter))
        policy.version += 1
        PolicyJudge(policy, weights="now").write(texts)
        assert judge.ask([ask("a", "b")]) == before
        assert judge.write(texts)[0].text == wrote[0].text
    assert PolicyJudge(policy, weights="now", hygiene=Hygiene(reasons=True)).ask([ask("a", "b")]) != before


def test_votes_that_would_all_say_the_same_are_refused(policy: FakePolicy) -> None:
    """Its probabilities are read and not drawn, so that only reasons can differ."""
    with pytest.raises(ConfigError, match="set reasons = true, or votes = 1"):
        PolicyJudge(policy, hygiene=Hygiene(votes=3, temperature=0.7))
    PolicyJudge(policy, hygiene=Hygiene(votes=3, temperature=0.7, reasons=True))
