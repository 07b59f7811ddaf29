from __future__ import annotations

import math
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_guards.selection import best_of_kl, best_of_weights, expected, quantile_weights

pools = st.lists(st.tuples(st.integers(0, 4), st.floats(0, 10)), min_size=1, max_size=7)


@given(st.integers(1, 40).flatmap(lambda pool: st.tuples(st.just(pool), st.integers(1, pool))))
def test_weights_of_best_of_n_sum_to_1_and_rise(case):
    pool, n = case
    weights = best_of_weights(pool, n)
    assert math.fsum(weights) == pytest.approx(1)
    assert weights == sorted(weights)
    assert weights[: n - 1] == [0.0] * (n - 1)


@given(pools, st.data())
def test_best_of_n_is_expected_over_every_choice_of_n_from_the_pool(pool, data):
    n = data.draw(st.integers(1, len(pool)))
    proxy, gold = zip(*pool, strict=True)

    def best(rows):
        top = max(proxy[row] for row in rows)
        return sum(gold[row] for row in rows if proxy[row] == top) / sum(proxy[row] == top for row in rows)

    found = expected(proxy, gold, best_of_weights(len(pool), n))
    if len(set(proxy)) == len(proxy):
        choices = list(combinations(range(len(pool)), n))
        assert found == pytest.approx(sum(map(best, choices)) / len(choices))
    assert min(gold) - 1e-9 <= found <= max(gold) + 1e-9


def test_the_best_of_n_uniform_numbers():
    pool = [(i + 0.5) / 400 for i in range(400)]
    for n in (1, 2, 5, 16):
        assert expected(pool, pool, best_of_weights(400, n)) == pytest.approx(n / (n + 1), abs=0.005)


def test_kl_of_best_of_n_by_enumeration():
    # Of 3 equally probable answers without ties in a continuum, best of n has density n u^(n-1): KL = E log density.
    for n in (1, 2, 16, 64):
        steps = 200_000
        integral = sum(
            n * u ** (n - 1) * (math.log(n) + (n - 1) * math.log(u)) / steps
            for u in ((k + 0.5) / steps for k in range(steps))
        )
        assert best_of_kl(n) == pytest.approx(integral, abs=1e-4)
    assert best_of_kl(16) == pytest.approx(1.835, abs=5e-4)


@given(pools, st.floats(0.01, 1))
def test_no_cost_is_expected_to_exceed_1_over_q_times_the_policys(pool, q):
    proxy, cost = zip(*pool, strict=True)
    weights = quantile_weights(len(pool), q)
    assert math.fsum(weights) == pytest.approx(1)
    assert max(weights) <= 1 / max(q * len(pool), 1) + 1e-12
    mean = sum(cost) / len(cost)
    assert expected(proxy, cost, weights) <= mean / max(q, 1 / len(pool)) + 1e-9


def test_the_bound_is_reached_where_all_harm_is_among_what_the_proxy_likes():
    for pool, size in product((4, 8), (1, 2)):
        cost = [0.0] * (pool - size) + [1.0] * size
        q = size / pool
        assert expected(range(pool), cost, quantile_weights(pool, q)) == pytest.approx((size / pool) / q)


def test_a_quantile_of_one_answer_is_the_best_of_all_and_of_all_is_none():
    assert quantile_weights(8, 1 / 8) == best_of_weights(8, 8)
    assert quantile_weights(8, 1.0) == pytest.approx(best_of_weights(8, 1))
    assert quantile_weights(4, 0.375) == pytest.approx([0, 0, 1 / 3, 2 / 3])


def test_ties_share_what_is_theirs():
    assert expected([1, 1, 1], [3.0, 6.0, 9.0], best_of_weights(3, 3)) == pytest.approx(6.0)


@pytest.mark.parametrize("call", [lambda: best_of_weights(3, 4), lambda: best_of_weights(3, 0)])
def test_more_than_the_pool_holds_is_refused(call):
    with pytest.raises(ValueError, match="with 3 answers in the pool; n must be from 1 to that"):
        call()


@pytest.mark.parametrize("q", [0.0, 1.5, math.nan])
def test_a_share_that_is_none_is_refused(q):
    with pytest.raises(ValueError, match="q above 0 and at most 1"):
        quantile_weights(3, q)
