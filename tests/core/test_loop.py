from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

import rlaif_core as rl
from rlaif_core.loop import Loop, Source, act, advance, credit, parts, score
from rlaif_core.prompts import Prompts
from rlaif_core.testing import FakePolicy, make_experience
from rlaif_core.train import remembered

ROWS = [rl.Prompt(id=str(n), text=text) for n, text in enumerate(("is it red", "yes or no", "one and two"))]


class Sample:
    def act(self, sampler, prompts, draft):
        return sampler.sample(prompts, rl.Sampling(max_tokens=4))


class Brief:
    def act(self, sampler, prompts, draft):
        rollouts = sampler.sample(prompts, rl.Sampling(max_tokens=1))
        return dataclasses.replace(rollouts, finish=("length",) * len(rollouts))


class Scribbles:
    """An action that writes into the draft."""

    def act(self, sampler, prompts, draft):
        draft.logp.mul_(0.5)
        return draft


class Spread:
    """Advantage = total reward, on every chosen token."""

    needs: frozenset[str] = frozenset()

    def assign(self, rollouts, feedback, critic):
        totals, counted = feedback.by_channel(rollouts.group)
        on_tokens = {name: (values[:, None] * rollouts.mask).float() for name, values in totals.items()}
        return rl.Experience(rollouts=rollouts, feedback=feedback, advantages=on_tokens, counted=counted)


class Still(rl.Optimiser):
    def __init__(self) -> None:
        self.seen: list[rl.Experience] = []

    def step(self, policy, experience):
        self.seen.append(experience)
        return {"loss": 0.5}


class Says:
    def __init__(self, said) -> None:
        self.said = said

    def score(self, rollouts):
        return self.said(rollouts) if callable(self.said) else self.said


def make(said=lambda r: [float(n) for n in range(len(r))], **changes) -> Loop:
    arguments = {
        "policy": FakePolicy(),
        "prompts": Prompts(ROWS, seed=0),
        "actions": [("action 1 'sample'", Sample())],
        "sources": {"said": Source(Says(said))},
        "credit": Spread(),
        "optimiser": Still(),
        "whose": {"reward source 'said'": "reward source 'said' from somewhere 1.0 (plugin)"},
        "seed": 0,
        "batch": 2,
        "group": 3,
    }
    return Loop(**(arguments | changes))


def test_one_step_goes_through_the_five_verbs():
    loop = make()
    experience, metrics = advance(loop)
    assert loop.step == 1
    assert len(experience.rollouts) == 6
    assert metrics["reward"] == metrics["reward/said"] == 2.5
    assert metrics["loss"] == 0.5
    assert metrics["length"] == experience.rollouts.mask.sum() / 6
    assert metrics["failed"] == metrics["abstained"] == 0


def test_actions_are_chained_each_gets_the_draft_before():
    drafts = []

    class Second:
        def act(self, sampler, prompts, draft):
            drafts.append(draft)
            return draft

    loop = make(actions=[("first", Sample()), ("second", Second())])
    assert act(loop, ROWS[:2]) is drafts[0]


def test_sources_are_summed_by_weight_within_their_channel():
    loop = make(
        sources={
            "a": Source(Says([1.0] * 6), weight=2.0),
            "b": Source(Says(torch.full((6,), 3.0)), weight=-1.0),
            "c": Source(Says([rl.Score(5.0, "why", cost=0.1)] * 6), channel="cost:x"),
        }
    )
    _, metrics = advance(loop)
    assert metrics["reward"] == -1.0
    assert metrics["cost/x"] == 5.0
    assert (metrics["reward/a"], metrics["reward/b"]) == (1.0, 3.0)
    assert "reward/c" not in metrics


def test_the_reward_is_of_the_answers_that_count():
    class First(Spread):
        def assign(self, rollouts, feedback, critic):
            counted = torch.arange(len(rollouts)) < self.count
            return rl.Experience(rollouts=rollouts, feedback=feedback, advantages={}, counted=counted)

    loop = make([3.0, 1.0, 9.0, 9.0, 9.0, 9.0], credit=First())
    loop.credit.count = 2
    assert advance(loop)[1]["reward"] == 2.0
    loop.credit.count = 0
    assert "reward" not in advance(loop)[1]


def test_observers_are_told_before_the_weights_change_in_their_order():
    told = []

    class Looks:
        def __init__(self, name):
            self.name = name

        def observe(self, step, experience):
            told.append((self.name, step, len(loop.optimiser.seen)))
            return {self.name: float(step)}

    loop = make(observers=[("first", Looks("a")), ("second", Looks("b"))])
    for _ in range(2):
        _, metrics = advance(loop)
    assert told == [("a", 1, 0), ("b", 1, 0), ("a", 2, 1), ("b", 2, 1)]
    assert (metrics["a"], metrics["b"], metrics["loss"]) == (2, 2, 0.5)
    assert parts(loop)["second"].name == "b"


def test_a_wish_to_stop_leaves_the_step_untaken():
    class Stops:
        def observe(self, step, experience):
            raise rl.Stop("enough")

    loop = make(observers=[("it", Stops())])
    with pytest.raises(rl.Stop, match="enough"):
        advance(loop)
    assert (loop.step, loop.optimiser.seen) == (0, [])


def test_what_the_optimiser_contributes_is_scored_and_weighted_but_is_not_the_reward():
    class Contributes(Still):
        def weights(self):
            return {"extra": 0.25}

    loop = make(
        optimiser=Contributes(),
        sources={"said": Source(Says([1.0] * 6)), "extra": Source(Says([8.0] * 6), contributed=True)},
    )
    experience, metrics = advance(loop)
    assert metrics["reward"] == 1.0
    assert metrics["reward/extra"] == 8.0
    values, _ = experience.feedback.totals(experience.rollouts.group)
    assert values.tolist() == [3.0] * 6
    assert "reward source 'extra'" not in parts(loop)


def test_the_buffer_is_used_up_before_fresh_rollouts_and_keeps_groups_whole():
    loop = make(updates=2)
    first, _ = advance(loop)
    assert len(loop.buffer) == 1
    second, _ = advance(loop)
    assert loop.buffer == []
    assert [len(e.rollouts) for e in (first, second)] == [3, 3]
    assert set(first.rollouts.group.tolist()).isdisjoint(second.rollouts.group.tolist())
    assert first.rollouts.prompts[0].id != second.rollouts.prompts[0].id


def test_more_updates_than_groups():
    with pytest.raises(rl.DataError, match=r"a batch of 2 groups cannot be shared out 3 ways; lower \[run\] updates"):
        advance(make(updates=3))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([1.0], r"returned 1 outcomes for 6 answers"),
        ([float("nan")] * 6, r"answer 0 scored nan; return Abstain\(reason\) or Failed\(reason\) instead"),
        ([1.0] * 5 + [float("inf")], r"answer 5 scored inf"),
        (["good"] * 6, r"answer 0 got a str; return Score, Abstain, Failed or a number"),
        (None, r"returned NoneType, but must return 6 outcomes"),
        ({"a": 1}, r"returned dict"),
        (0.5, r"returned one float"),
    ],
)
def test_what_a_source_may_not_return(said, message):
    loop = make(said=lambda rollouts: said)
    with pytest.raises(rl.FeedbackError, match=message) as raised:
        score(loop, act(loop, ROWS[:2]))
    assert "reward source 'said' from somewhere 1.0 (plugin), step 1" in raised.value.__notes__[0]


def test_none_abstains_and_failures_count_apart():
    said = [1.0, None, rl.Failed("down"), 2.0, rl.Abstain("odd"), 3.0]
    _, metrics = advance(make(said, max_failed=0.5))
    assert metrics["failed"] == pytest.approx(1 / 6)
    assert metrics["abstained"] == pytest.approx(2 / 6)
    assert metrics["reward"] == 2.0


def test_too_many_failures_stop_the_step_before_the_optimiser():
    loop = make([rl.Failed("down")] * 4 + [1.0, 2.0], max_failed=0.5)
    with pytest.raises(
        rl.FeedbackError, match=r"67% of what 'said' said failed, more than max_failed = 50%.*said: down \(4 times\)"
    ):
        advance(loop)
    assert loop.optimiser.seen == []
    assert loop.step == 0


def test_a_streak_without_advantage_raises():
    loop = make([0.0] * 6, max_idle=3)
    advance(loop)
    advance(loop)
    with pytest.raises(rl.TrainingError, match="every advantage was 0 in 3 batches in a row"):
        advance(loop)
    assert make([0.0] * 6, max_idle=0).max_idle == 0


def test_a_streak_ends_with_a_batch_that_teaches_something():
    batches = iter([0, 0, 1, 0, 0, 1, 0, 0])
    loop = make(lambda rollouts: [float(next(batches))] * 6, max_idle=3)
    idle = [(advance(loop), loop.idle)[1] for _ in range(8)]
    assert idle == [1, 2, 0, 1, 2, 0, 1, 2]


def test_a_step_that_fails_leaves_neither_answers_nor_an_idle_batch_behind():
    class Broken(Still):
        def step(self, policy, experience):
            raise ZeroDivisionError

    loop = make([0.0] * 6, updates=2, optimiser=Broken())
    put_back = remembered(SimpleNamespace(loop=loop))
    with pytest.raises(ZeroDivisionError):
        advance(loop)
    assert (len(loop.buffer), loop.idle) == (2, 1)
    put_back()
    assert (loop.buffer, loop.idle) == ([], 0)


def test_a_step_that_was_counted_but_not_recorded_can_be_taken_back():
    loop = make()
    put_back = remembered(SimpleNamespace(loop=loop))
    advance(loop)
    put_back()
    assert loop.step == 0


def test_answers_are_drawn_for_the_step_that_they_are_used_in():
    loop, asked = make(), []
    sampler = loop.policy.sampler
    loop.policy.sampler = lambda **its: asked.append(its) or sampler(**its)
    advance(loop)
    advance(loop)
    assert asked == [{"seed": 0, "step": step, "group": 3} for step in (1, 2)]


def test_metrics_must_be_finite():
    class Wild(Still):
        def step(self, policy, experience):
            return {"loss": float("nan")}

    with pytest.raises(rl.PluginError, match="metric 'loss' is nan"):
        advance(make(optimiser=Wild()))


def test_an_optimiser_reports_under_names_of_its_own():
    class Boasts(Still):
        def step(self, policy, experience):
            return {"reward": 99.0}

    with pytest.raises(rl.PluginError, match="the optimiser reports 'reward', which every run measures itself"):
        advance(make(optimiser=Boasts()))


def test_each_call_names_who_raised():
    def broken(base, name):
        def fails(*_, **__):
            raise ZeroDivisionError("boom")

        return type("Broken", (base,), {name: fails})()

    for whose, changes in (
        ("policy", {"policy": broken(FakePolicy, "sampler")}),
        ("optimiser", {"optimiser": broken(Still, "weights")}),
        ("optimiser", {"optimiser": broken(Still, "critic")}),
        ("optimiser", {"optimiser": broken(Still, "step")}),
        ("optimiser", {"optimiser": broken(Still, "skip"), "said": lambda rollouts: [None] * len(rollouts)}),
        ("credit", {"credit": broken(Spread, "assign")}),
    ):
        with pytest.raises(ZeroDivisionError) as raised:
            advance(make(**changes))
        assert raised.value.__notes__ == [f"  in {whose}, step 1"]


def test_weights_are_those_of_the_optimisers_own_sources():
    class Meddles(Still):
        def weights(self):
            return {"said": 0.0}

    with pytest.raises(rl.PluginError, match=r"weights\(\) names 'said', but the optimiser contributes no source"):
        advance(make(optimiser=Meddles()))


def test_a_group_holds_the_answers_to_one_prompt():
    class Lumps:
        def act(self, sampler, prompts, draft):
            return dataclasses.replace(draft, group=torch.zeros_like(draft.group))

    with pytest.raises(
        rl.PluginError, match=r"Rollouts\.group 0 holds answers to two prompts, '\d' and '\d'"
    ) as raised:
        advance(make(actions=[("action 1", Sample()), ("action 2", Lumps())]))
    assert raised.value.__notes__ == ["  in action 2, step 1"]


def test_where_the_credit_leaves_everything_out_nobody_blames_the_source():
    class Drops(Spread):
        def assign(self, rollouts, feedback, critic):
            none = torch.zeros(len(rollouts), dtype=torch.bool)
            zeros = {"reward": torch.zeros(rollouts.mask.shape)}
            return rl.Experience(rollouts=rollouts, feedback=feedback, advantages=zeros, counted=none)

    said = (
        r"no answer counted\. They were scored, but the credit leaves them out; 6 of 6 were cut off by the length limit"
    )
    with pytest.raises(rl.TrainingError, match=said):
        advance(make(actions=[("brief", Brief())], credit=Drops(), max_idle=1))


def test_stages_must_return_their_value():
    with pytest.raises(rl.PluginError, match="step returned NoneType; an optimiser returns its metrics by name"):
        advance(make(optimiser=type("Mute", (Still,), {"step": lambda *_: None})()))
    with pytest.raises(rl.PluginError, match="act returned list; an action returns Rollouts"):
        advance(make(actions=[("x", SimpleNamespace(act=lambda *_: []))]))
    with pytest.raises(rl.PluginError, match="assign returned NoneType; a credit returns Experience"):
        advance(make(credit=SimpleNamespace(assign=lambda *_: None)))


@pytest.mark.parametrize(
    ("whose", "changes"),
    [
        ("action 2", {"actions": [("action 1", Sample()), ("action 2", Scribbles())]}),
        ("reward source 'said' from somewhere 1.0 (plugin)", {"said": lambda r: r.tokens.add_(1) is None or [1.0] * 6}),
        (
            "optimiser",
            {
                "optimiser": type(
                    "Writes", (Still,), {"step": lambda self, p, e: e.advantages["reward"].mul_(2) is None or {}}
                )()
            },
        ),
    ],
)
def test_strict_names_who_writes_in_place(whose, changes):
    with pytest.raises(rl.PluginError, match="it wrote in place into") as raised:
        advance(make(**changes, strict=True))
    assert f"  in {whose}, step 1" in raised.value.__notes__
    advance(make(**changes))


def test_credit_sees_the_optimisers_critic():
    seen = []

    class Looks(Spread):
        def assign(self, rollouts, feedback, critic):
            seen.append(critic)
            return super().assign(rollouts, feedback, critic)

    loop = make(credit=Looks())
    rollouts = act(loop, ROWS[:2])
    credit(loop, rollouts, score(loop, rollouts))
    with pytest.raises(rl.ConfigError, match="needs values, but the optimiser trains no critic"):
        seen[0].values(rollouts)


def test_experience_survives_the_wire_bit_for_bit():
    from rlaif_core import wire
    from rlaif_core.testing.compare import leaves, same

    loop = make(said=[1.0, None, rl.Failed("down", cost=2.0), rl.Score(2.0, "ok"), 0.0, 3.0], updates=2)
    advance(loop)
    before = loop.buffer[0]
    after = wire.from_state(wire.to_state(before), "cpu", loop.prompts.prompts)
    one, other = dict(leaves(before, "")), dict(leaves(after, ""))
    assert one.keys() == other.keys()
    assert all(same(one[name], other[name]) for name in one)
    assert make_experience(after.rollouts).rollouts is after.rollouts


def test_one_broken_source_among_many_is_an_outage():
    fine = {f"fine {number}": Source(Says([1.0] * 6)) for number in range(9)}
    broken = {"broken": Source(Says([rl.Failed("down")] * 6))}
    with pytest.raises(rl.FeedbackError, match="100% of what 'broken' said failed, more than max_failed = 10%"):
        advance(make(sources=fine | broken, max_failed=0.1))


def test_what_the_optimiser_contributes_does_not_dilute_an_outage():
    said = {"judge": Source(Says([rl.Failed("down")] + [1.0] * 5)), "kl": Source(Says([0.0] * 6), contributed=True)}
    _, metrics = advance(make(sources=said, max_failed=0.2))
    assert metrics["failed"] == pytest.approx(1 / 6)
    with pytest.raises(rl.FeedbackError, match="17% of what 'judge' said failed"):
        advance(make(sources=said, max_failed=0.1))


def test_a_batch_about_which_nobody_has_an_opinion_is_passed_over():
    loop = make([None] * 6, max_idle=3)
    for _ in range(2):
        _, metrics = advance(loop)
        assert "reward" not in metrics  # no score is not a score of 0
        assert (metrics["counted"], metrics["abstained"]) == (0, 1)
    assert loop.optimiser.seen == []
    assert loop.step == 2
    with pytest.raises(rl.TrainingError, match=r"no answer counted\. said: the source returned None \(6 times\)"):
        advance(loop)


def test_a_share_about_which_nobody_has_an_opinion_is_passed_over():
    loop = make([1.0, 2.0, 3.0, None, None, None], updates=2)
    counted = [advance(loop)[1]["counted"] for _ in range(2)]
    assert counted == [1, 0]
    assert len(loop.optimiser.seen) == 1


def test_answers_without_a_sibling_are_not_compared():
    class Comparing(Spread):
        compares = True

    with pytest.raises(rl.TrainingError, match=r"each prompt has only one; raise \[prompts\] group to 2 or more"):
        advance(make(credit=Comparing(), group=1))
    assert advance(make(credit=Comparing(), group=2))[1]["counted"] == 1
