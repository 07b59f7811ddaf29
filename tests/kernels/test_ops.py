"""The public operations: every implementation gives the definition's answer, and bad arguments are told apart."""

from __future__ import annotations

import doctest
import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import here
import rlaif_kernels as rk
from rlaif_kernels import dispatch, reference

NAMES = sorted([*dispatch.TABLE, *dispatch.SPECIAL_CASES])
LOCAL = [name for name in NAMES if name != "sharded_logprobs"]  # which needs several processes
MASK = torch.tensor([[True, False, True], [True, True, False]])
GROUPS = torch.tensor([7, 1, 7, 1, 1])


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_its_definition_plus_a_choice(name: str) -> None:
    public = dict(inspect.signature(getattr(rk, name)).parameters)
    assert public.pop("impl").default == "auto"
    public.pop("out", None)  # where results are to be put
    defined = inspect.signature(getattr(reference, name)).parameters
    known = {k: (p.default, p.kind) for k, p in defined.items() if p.kind is not p.VAR_KEYWORD}
    given = {k: (p.default, p.kind) for k, p in public.items()}
    assert {k: given[k] for k in known} == known
    if len(known) < len(given):  # the definition hands the rest on
        assert name == "linear_policy_loss"
        rest = inspect.signature(reference.policy_loss).parameters
        assert {k: v for k, v in given.items() if k not in known} == {
            k: (rest[k].default, rest[k].kind) for k in given if k not in known
        }


def given_to(name: str) -> dict[str, Any]:
    """The arguments of CALLS by name."""
    arguments, options = CALLS[name]()
    return dict(zip(inspect.signature(getattr(rk, name)).parameters, arguments, strict=False)) | options


def head(*shape: int) -> tuple[torch.Tensor, ...]:
    return torch.randn(*shape, 4), torch.randn(5, 4), torch.randint(5, shape)


Z = {"temperature": 0.5, "softcap": 2.0, "scale": 0.3}
CAPPED = {**Z, "ignore_index": 1, "entropy": True}
LOSS = {"low": 0.1, "high": 0.3, "dual": 2.0, "aggregation": "constant", "length": 4, "kl": 0.1, "entropy_weight": 0.2}
CALLS: dict[str, Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "token_logprobs": lambda: ((torch.randn(2, 3, 5), torch.tensor([[0, 1, 4], [2, 3, 1]])), CAPPED),
    "linear_logprobs": lambda: (head(2, 3), {**CAPPED, "bias": torch.randn(5)}),
    "kept_logprobs": lambda: (
        (*head(2, 3), torch.tensor([0, 1, 2, 3, 4, -1]).expand(2, 3, 6)),
        {**CAPPED, "bias": torch.randn(5)},
    ),
    "linear_policy_loss": lambda: (
        (*head(2, 3), *torch.randn(2, 2, 3), MASK),
        {**Z, **LOSS, "reference": torch.randn(2, 3), "correction": torch.rand(2, 3), "bias": torch.randn(5)},
    ),
    "gae": lambda: (
        (*torch.randn(2, 2, 3), MASK),
        {"gamma": 0.9, "lam": torch.tensor([0.7, 0.2]), "dones": ~MASK.flip(1), "next_values": torch.randn(2, 3)},
    ),
    "vtrace": lambda: (
        (*torch.randn(3, 2, 3), MASK),
        {"gamma": 0.9, "lam": 0.7, "rho_clip": 1.3, "trace_clip": 0.8, "next_values": torch.randn(2, 3)},
    ),
    "discounted_returns": lambda: ((torch.randn(2, 3), MASK), {"gamma": 0.9, "dones": ~MASK.flip(1)}),
    "lambda_returns": lambda: ((*torch.randn(2, 2, 3), MASK), {"gamma": 0.9, "lam": 0.7, "dones": ~MASK.flip(1)}),
    "masked_whiten": lambda: ((torch.randn(2, 3), MASK), {"eps": 0.1}),
    "group_normalise": lambda: (
        (torch.randn(5), GROUPS, torch.tensor([True, True, True, False, True])),
        {"unbiased": True, "noise": 1e-3},
    ),
    "kl_estimate": lambda: (tuple(torch.randn(2, 2, 3)), {"value": "k2", "gradient": "k3", "ratio": torch.rand(2, 3)}),
    "policy_loss": lambda: (
        (*torch.randn(3, 2, 3), MASK),
        {**LOSS, "reference": torch.randn(2, 3), "entropy": torch.rand(2, 3), "correction": torch.rand(2, 3)},
    ),
    "attention_column": lambda: (
        (torch.randn(2, 4, 3, 8), torch.randn(2, 2, 5, 8)),
        {"weights": torch.randn(2, 3), "mask": torch.rand(2, 5) < 0.7, "window": 3, "scale": 0.4, "softcap": 1.5},
    ),
}


@pytest.mark.parametrize("name", [*NAMES, "token_weights"])
def test_the_help_shows_it_at_work(name: str) -> None:
    shown = doctest.DocTestParser().get_doctest(getattr(rk, name).__doc__, {"rk": rk, "torch": torch}, name, None, None)
    assert shown.examples
    failed, _ = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(shown)
    assert not failed


@pytest.mark.parametrize("name", LOCAL)
def test_every_implementation_gives_the_same_answer_and_minds_every_option(name: str) -> None:
    arguments, options = CALLS[name]()
    wanted = getattr(reference, name)(*arguments, **options)
    for impl in ["auto", *here.implementations(name)]:
        torch.testing.assert_close(getattr(rk, name)(*arguments, **options, impl=impl), wanted)


@pytest.mark.parametrize("name", ["masked_whiten", "group_normalise", "policy_loss", "attention_column"])
def test_torch_func_transforms_what_is_computed_by_definition(name: str) -> None:
    (x, *arguments), options = CALLS[name]()

    def run(x: torch.Tensor) -> torch.Tensor:
        said = getattr(rk, name)(x, *arguments, **options)
        return said if isinstance(said, torch.Tensor) else said.loss

    many = torch.stack([x, 2 * x])
    torch.testing.assert_close(torch.vmap(run)(many), torch.stack([run(one) for one in many]))
    leaf = x.clone().requires_grad_()
    run(leaf).square().sum().backward()
    torch.testing.assert_close(torch.func.grad(lambda x: run(x).square().sum())(x), leaf.grad)


@pytest.mark.parametrize("name", ["gae", "vtrace", "lambda_returns", "discounted_returns"])
def test_scans_of_many_batches_are_computed_by_definition(name: str) -> None:
    given = given_to(name)
    tensors = {name: one for name, one in given.items() if isinstance(one, torch.Tensor) and one.ndim == 2}
    many = {name: torch.stack([one, one.flip(0)]) for name, one in tensors.items()}
    packed = {name: one.flatten(1) for name, one in many.items()}

    def run(given: dict[str, Any], **others: Any) -> Any:
        return getattr(rk, name)(**{**given, **others})

    rest = {name: one for name, one in given.items() if name not in tensors}
    cuts = {**rest, "cu_seqlens": torch.tensor([0, 2, 2, 6]), "gamma": 0.9, "lam": 0.8}
    for its, others in ((many, rest), (packed, {k: v for k, v in cuts.items() if k in (*rest, "cu_seqlens")})):
        said = torch.vmap(lambda one, others=others: run(one, **others))(its)
        alone = [run({name: one[n] for name, one in its.items()}, **others) for n in range(2)]
        wanted = torch.stack(alone) if isinstance(said, torch.Tensor) else tuple(map(torch.stack, zip(*alone)))  # noqa: B905
        torch.testing.assert_close(said, wanted)


@pytest.mark.parametrize("name", LOCAL)
def test_torchs_defaults_have_no_say(name: str) -> None:
    """Memory whose address is handed over is of the dtype and on the device that the kernels write to."""
    (leaf, *arguments), options = CALLS[name]()
    leaf.requires_grad_()

    def found(impl: str) -> list[torch.Tensor]:
        said = getattr(rk, name)(leaf, *arguments, **options, impl=impl)
        outputs = [said] if isinstance(said, torch.Tensor) else list(said)
        descended = [one.sum() for one in outputs if one.requires_grad]
        return [*outputs, *(torch.autograd.grad(descended, leaf) if descended else ())]

    for impl in here.implementations(name):
        wanted = found(impl)
        try:
            torch.set_default_dtype(torch.float64)
            with torch.device("meta"):
                said = found(impl)
        finally:
            torch.set_default_dtype(torch.float32)
        assert all(map(torch.equal, said, wanted)), impl


@pytest.mark.parametrize("name", LOCAL)
def test_the_choice_of_implementation_arrives(name: str) -> None:
    arguments, options = CALLS[name]()
    with pytest.raises(ValueError, match=f"^{name}: unknown impl 'fastest'"):
        getattr(rk, name)(*arguments, **options, impl="fastest")


@pytest.mark.native
@pytest.mark.parametrize("name", [name for name in LOCAL if "native" in here.implementations(name)])
def test_a_choice_that_cannot_run_names_the_operation_that_was_called(name: str) -> None:
    given = {k: one.to("meta") if isinstance(one, torch.Tensor) else one for k, one in given_to(name).items()}
    with pytest.raises(rk.ImplementationError, match=f"^{name}: impl='native' cannot run: .* on meta"):
        getattr(rk, name)(**given, impl="native")


@pytest.mark.parametrize("impl", here.implementations("gae"))
def test_nan_off_the_mask_stays_there(impl: str) -> None:
    rewards = torch.ones(2, 3).masked_fill(~MASK, math.nan)
    advantages, returns = rk.gae(rewards, rewards, MASK, next_values=rewards, impl=impl)
    sums = rk.discounted_returns(rewards, MASK, gamma=0.9, impl=impl)
    for out in (advantages, returns, sums):
        assert out.isfinite().all()
        assert not out[~MASK].any()
    assert sums[MASK].tolist() == pytest.approx([1.9, 1.0, 1.9, 1.0])


@pytest.mark.parametrize("changed", ["targets", "temperature"])
@pytest.mark.parametrize("name", ["token_logprobs", "linear_logprobs"])
def test_what_was_asked_must_not_change_before_the_way_back(name: str, changed: str) -> None:
    """Else kernels would read it anew, and give a gradient of something else; the definition has copies."""
    arguments = CALLS[name]()[0]
    for impl in here.implementations(name)[:-1]:
        asked = {"targets": arguments[-1].clone(), "temperature": torch.full((2, 3), 0.5)}
        leaf = arguments[0].clone().requires_grad_()
        logp = getattr(rk, name)(
            leaf, *arguments[1:-1], asked["targets"], temperature=asked["temperature"], softcap=2.0, impl=impl
        )
        asked[changed].fill_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            logp.sum().backward()


@pytest.mark.parametrize("name", ["token_logprobs", "linear_logprobs", "kept_logprobs"])
def test_whoever_gets_log_probs_may_change_them(name: str) -> None:
    (leaf, *arguments), options = CALLS[name]()
    for impl in here.implementations(name):
        for others in (options, {**options, "temperature": torch.full((2, 3), 0.5)}):
            leaf = leaf.detach().requires_grad_()
            wanted = torch.autograd.grad(2 * getattr(rk, name)(leaf, *arguments, **others, impl=impl)[0].sum(), leaf)[0]
            logp = getattr(rk, name)(leaf, *arguments, **others, impl=impl)[0]
            (slope,) = torch.autograd.grad(logp.mul_(2).sum(), leaf)
            torch.testing.assert_close(slope, wanted)


ONES, IDS = torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.int64)
STATES, MATRIX = torch.zeros(2, 3, 4), torch.zeros(5, 4)
BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "logits and targets": (lambda: rk.token_logprobs(torch.zeros(2, 3, 5), torch.zeros(2, 4).long()), ValueError,
                           r"logits \[2, 3, 5\] do not go with targets \[2, 4\]"),
    "target dtype": (lambda: rk.token_logprobs(torch.zeros(2, 5), torch.zeros(2)), TypeError,
                     "int64, got torch.float32"),
    "temperature": (lambda: rk.token_logprobs(torch.zeros(1, 5), torch.zeros(1).long(), temperature=0.0), ValueError,
                    "temperature must be above 0"),
    "softcap": (lambda: rk.token_logprobs(torch.zeros(1, 5), torch.zeros(1).long(), softcap=-1.0), ValueError,
                "softcap must be above 0 or None"),
    "no process group": (lambda: rk.sharded_logprobs(torch.zeros(2, 5), torch.zeros(2).long(), first=0), RuntimeError,
                         "init_process_group was not called"),
    "no values": (lambda: rk.gae(ONES, None, MASK), TypeError, "values must be a tensor, got NoneType"),
    "no mask": (lambda: rk.gae(ONES, ONES, None), TypeError, "mask must be a tensor, got NoneType"),
    "no mask of returns": (lambda: rk.discounted_returns(ONES, None, gamma=1.0), TypeError,
                           "mask must be a tensor, got NoneType"),
    "no rewards": (lambda: rk.vtrace(ONES, None, ONES, MASK), TypeError, "rewards must be a tensor, got NoneType"),
    "no old log-probs": (lambda: rk.policy_loss(ONES, None, ONES, MASK), TypeError,
                         "old_logp must be a tensor, got NoneType"),
    "no advantages": (lambda: rk.linear_policy_loss(STATES, MATRIX, IDS, ONES, None, MASK), TypeError,
                      "advantages must be a tensor, got NoneType"),
    "flat rewards": (lambda: rk.gae(ONES[0], ONES[0], MASK[0]), ValueError, r"rewards must be \[B,T\], got \[3\]"),
    "one value too many": (lambda: rk.gae(ONES, torch.ones(2, 4), MASK), ValueError,
                           r"values is \[2, 4\], expected \[2, 3\]"),
    "float mask": (lambda: rk.gae(ONES, ONES, ONES), TypeError, "mask must be bool, got torch.float32"),
    "integer dones": (lambda: rk.discounted_returns(ONES, MASK, gamma=1.0, dones=ONES.long()), TypeError,
                      "dones must be bool"),
    "two devices": (lambda: rk.gae(ONES, ONES.to("meta"), MASK), ValueError, "values is on meta, expected cpu"),
    "a gamma too few": (lambda: rk.gae(ONES, ONES, MASK, gamma=torch.ones(3)), ValueError,
                        r"gamma is \[3\], expected a number or one for each of 2 rows"),
    "rows that are packed": (lambda: rk.gae(ONES, ONES, MASK, cu_seqlens=torch.tensor([0, 6])), ValueError,
                             r"with cu_seqlens, rewards must be \[N\], got \[2, 3\]"),
    "offsets that fall short": (lambda: rk.gae(ONES[0], ONES[0], MASK[0], cu_seqlens=torch.tensor([0, 2])), ValueError,
                                r"cu_seqlens must rise from 0 to 3, got \[0, 2\]"),
    "float offsets": (lambda: rk.gae(ONES[0], ONES[0], MASK[0], cu_seqlens=torch.tensor([0.0, 3.0])), ValueError,
                      r"cu_seqlens must be \[B\+1\] int32 or int64"),
    "temperatures": (lambda: rk.token_logprobs(torch.zeros(2, 3, 5), IDS, temperature=torch.ones(2)), ValueError,
                     r"temperature is \[2\], expected a number or \[2, 3\]"),
    "a boundless cap": (lambda: rk.token_logprobs(torch.zeros(2, 3, 5), IDS, softcap=math.inf), ValueError,
                        "softcap must be above 0 or None, got inf"),
    "no scale": (lambda: rk.linear_logprobs(STATES, MATRIX, IDS, scale=math.nan), ValueError,
                 "scale must be finite, got nan"),
    "what to ignore": (lambda: rk.token_logprobs(torch.zeros(2, 3, 5), IDS, ignore_index=None), TypeError,
                       "ignore_index must be an int, got NoneType"),
    "a single logit": (lambda: rk.token_logprobs(torch.tensor(1.0), torch.tensor(0)), ValueError,
                       r"logits \[\] do not go with targets \[\]"),
    "offsets in a list": (lambda: rk.gae(ONES[0], ONES[0], MASK[0], cu_seqlens=[0, 3]), TypeError,
                          "cu_seqlens must be a tensor, got list"),
    "eps": (lambda: rk.masked_whiten(ONES, MASK, eps=-1.0), ValueError, "eps must be at least 0, got -1.0"),
    "weights of what": (lambda: rk.token_weights(MASK, "mean"), ValueError,
                        "token_weights: unknown aggregation 'mean'; choose from token_mean, sequence_mean,"),
    "weights without a length": (lambda: rk.token_weights(MASK, "constant"), ValueError,
                                 "token_weights: aggregation 'constant' needs a length of at least 1, got None"),
    "weights of ids": (lambda: rk.token_weights(IDS), TypeError, "token_weights: mask must be bool, got torch.int64"),
    "weights of one row": (lambda: rk.token_weights(MASK[0]), ValueError, r"mask must be \[B,T\], got \[3\]"),
    "no heads": (lambda: rk.attention_column(torch.zeros(1, 0, 2, 4), torch.zeros(1, 0, 2, 4)), ValueError,
                 "heads must be a multiple of the key's"),
    "rho_clip": (lambda: rk.vtrace(ONES, ONES, ONES, MASK, rho_clip=0), ValueError, "rho_clip must be above 0, got 0"),
    "mask shape": (lambda: rk.masked_whiten(ONES, MASK[:, :2]), ValueError, r"mask is \[2, 2\], expected \[2, 3\]"),
    "group dtype": (lambda: rk.group_normalise(ONES[0], ONES[0], MASK[0]), TypeError, "group must be int64"),
    "group scale": (lambda: rk.group_normalise(ONES[0], IDS[0], MASK[0], scale="max"), ValueError,
                    "unknown scale 'max'; choose from std, none"),
    "grouped rows": (lambda: rk.group_normalise(ONES, IDS, MASK), ValueError, r"x must be \[N\], got \[2, 3\]"),
    "estimator": (lambda: rk.kl_estimate(ONES, ONES, value="k4"), ValueError,
                  "unknown value 'k4'; choose from k1, k2, k3"),
    "objective": (lambda: rk.policy_loss(ONES, ONES, ONES, MASK, objective="ppo"), ValueError,
                  "unknown objective 'ppo'; choose from clip, cispo"),
    "kl without reference": (lambda: rk.policy_loss(ONES, ONES, ONES, MASK, kl=0.1), ValueError,
                             "kl is 0.1, which needs reference"),
    "entropy": (lambda: rk.policy_loss(ONES, ONES, ONES, MASK, entropy_weight=0.1), ValueError,
                "entropy_weight is 0.1, which needs entropy"),
    "length": (lambda: rk.policy_loss(ONES, ONES, ONES, MASK, aggregation="constant"), ValueError,
               "aggregation 'constant' needs a length of at least 1, got None"),
    "dual": (lambda: rk.policy_loss(ONES, ONES, ONES, MASK, dual=1.0), ValueError, "dual must be above 1, got 1.0"),
    "dual of cispo": (lambda: rk.policy_loss(ONES, ONES, ONES, MASK, dual=2.0, objective="cispo"), ValueError,
                      "dual goes with objective 'clip' alone"),
    "negative clip": (lambda: rk.policy_loss(ONES, ONES, ONES, MASK, low=-0.1), ValueError,
                      "low must be at least 0, got -0.1"),
    "hidden and targets": (lambda: rk.linear_logprobs(STATES, MATRIX, IDS[:1]), ValueError,
                           r"hidden \[2, 3, 4\] do not go with targets \[1, 3\]"),
    "weight the other way": (lambda: rk.linear_logprobs(STATES, MATRIX.T, IDS), ValueError,
                             r"weight must be \[V,4\], got \[4, 5\]"),
    "bias": (lambda: rk.linear_logprobs(STATES, MATRIX, IDS, bias=torch.zeros(4)), ValueError,
             r"bias must be \[5\], got \[4\]"),
    "two dtypes": (lambda: rk.linear_logprobs(STATES, MATRIX.double(), IDS), TypeError,
                   "weight is torch.float64 but hidden torch.float32"),
    "kept": (lambda: rk.kept_logprobs(STATES, MATRIX, IDS, IDS), ValueError,
             r"kept \[2, 3\] do not go with targets \[2, 3\]"),
    "kept dtype": (lambda: rk.kept_logprobs(STATES, MATRIX, IDS, ONES[..., None]), TypeError,
                   "kept are token ids in int32 or int64, got torch.float32"),
    "rows of a loss": (lambda: rk.linear_policy_loss(STATES, MATRIX, IDS, ONES, ONES[:1], MASK), ValueError,
                       r"advantages is \[1, 3\], expected \[2, 3\]"),
    "heads": (lambda: rk.attention_column(torch.zeros(1, 3, 2, 4), torch.zeros(1, 2, 2, 4)), ValueError,
              "heads must be a multiple of the key's"),
    "queries": (lambda: rk.attention_column(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 2, 4)), ValueError,
                "and the queries some of the positions"),
    "weights of queries": (lambda: rk.attention_column(torch.zeros(1, 2, 2, 4), torch.zeros(1, 2, 2, 4),
                                                       weights=torch.zeros(2)), ValueError,
                           r"weights is \[2\], expected \[1, 2\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case: str) -> None:
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


FLAWED = torch.tensor([[4, 0, 7], [7, -1, -1]])
ASTRAY: dict[str, tuple[dict[str, Any], str]] = {
    "token_logprobs": ({"logits": torch.zeros(2, 3, 5), "ignore_index": 7}, "give ignore_index, 7"),
    "linear_logprobs": ({"hidden": STATES, "weight": MATRIX, "ignore_index": 7}, "give ignore_index, 7"),
    "linear_policy_loss": (
        {"hidden": STATES, "weight": MATRIX, "old_logp": ONES, "advantages": ONES, "mask": FLAWED != 7},
        "mask must be False",
    ),
}


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(
    ("name", "impl"), [(name, impl) for name in ASTRAY for impl in ["auto", *here.implementations(name)]]
)
def test_a_target_outside_the_vocabulary_is_named(name: str, impl: Any, grad: bool) -> None:
    given, remedy = ASTRAY[name]
    leaf = next(iter(given))
    given = {**given, leaf: given[leaf].clone().requires_grad_(grad)}
    for astray in (-1, 5, 2**40):
        targets = FLAWED.masked_fill(FLAWED == -1, astray)
        its = rf"targets\[1, 1\] is {astray}, not in a vocabulary of 5 \(and 1 more are wrong\)"
        with pytest.raises(IndexError, match=f"^{name}: {its}; where nothing is asked, {remedy}$"):
            getattr(rk, name)(**given, targets=targets, impl=impl)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("impl", ["auto", *here.implementations("kept_logprobs")])
def test_a_kept_token_outside_the_vocabulary_is_named(impl: Any, dtype: torch.dtype) -> None:
    kept = torch.tensor([[0, 1], [4, 5]], dtype=dtype)
    with pytest.raises(
        IndexError, match=r"^kept_logprobs: kept\[1, 1\] is 5, not in a vocabulary of 5; fill up with -1$"
    ):
        rk.kept_logprobs(STATES[0, :2], MATRIX, IDS[0, :2], kept, impl=impl)


def test_an_error_of_another_kind_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(reference.linear, "token_logprobs", fails)
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        rk.linear_logprobs(STATES, MATRIX, IDS, impl="torch")


@pytest.mark.parametrize("name", LOCAL)
def test_what_is_no_tensor_is_named(name: str) -> None:
    given = given_to(name)
    required = [k for k, p in inspect.signature(getattr(rk, name)).parameters.items() if p.default is p.empty]
    for argument, right in given.items():
        if isinstance(right, torch.Tensor):
            for wrong in [right.tolist(), right.numpy(), *[None] * (argument in required)]:
                expected = f"^{name}: {argument} must be a (tensor|number), got {type(wrong).__name__}"
                with pytest.raises(TypeError, match=expected):
                    getattr(rk, name)(**{**given, argument: wrong})


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("grad", [False, True])
def test_tensors_on_two_devices_are_refused(name: str, grad: bool) -> None:
    given = given_to(name)
    first = next(iter(given))
    given[first].requires_grad_(grad)
    for argument, right in given.items():
        if isinstance(right, torch.Tensor):
            expected = f"^{name}: [a-z_]+ is on (cpu, expected meta|meta, expected cpu)"
            with pytest.raises(ValueError, match=expected):
                getattr(rk, name)(**{**given, argument: right.to("meta")})


@pytest.mark.parametrize("name", LOCAL)
def test_what_is_no_number_is_named(name: str) -> None:
    given, known = given_to(name), inspect.signature(getattr(rk, name)).parameters
    numbers = [k for k, parameter in known.items() if str(parameter.annotation).startswith("float")]
    for argument in numbers:
        with pytest.raises(TypeError, match=f"^{name}: {argument} must be a number, got str"):
            getattr(rk, name)(**{**given, argument: "1"})


@pytest.mark.parametrize("name", [name for name in LOCAL if name != "group_normalise"])  # as many groups as there are
def test_shapes_can_be_reckoned_without_numbers(name: str) -> None:
    there = {k: v.to("meta") if isinstance(v, torch.Tensor) else v for k, v in given_to(name).items()}
    said, wanted = getattr(rk, name)(**there), getattr(rk, name)(**given_to(name))
    for one, like in [(said, wanted)] if isinstance(said, torch.Tensor) else zip(said, wanted, strict=True):
        assert one.is_meta
        assert (one.shape, one.dtype) == (like.shape, like.dtype)
