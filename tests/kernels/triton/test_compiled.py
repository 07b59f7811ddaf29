"""Every kernel compiled for GPUs that are not there: its registers, its shared memory and the instructions wanted."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest

from ptx import SHARED, compiled
from rlaif_kernels import triton as backend

pytest.importorskip("triton", reason="triton is not installed")
if backend.interpreted:
    pytest.skip("what is interpreted is not compiled", allow_module_level=True)

import triton.language as tl

from rlaif_kernels.triton import linear, logprobs, normalise, scans, sparse
from rlaif_kernels.triton.kernels import linear as linear_kernels
from rlaif_kernels.triton.kernels import normalise as normalise_kernels
from rlaif_kernels.triton.kernels import rows as row_kernels
from rlaif_kernels.triton.kernels import scans as scan_kernels
from rlaif_kernels.triton.kernels import sparse as sparse_kernels

CAPABILITIES = (80, 90, 100)
WIDE_LOAD, WIDE_STORE = r"ld\.global\S*\.v4\.b32", r"st\.global\S*\.v4\.b32"
PRODUCT = {80: r"mma\.sync\S*\.m16n8k", 90: r"wgmma\.mma_async", 100: r"tcgen05\.mma"}
TABLE = r"cp\.async\.bulk\.tensor"  # a tile by its descriptor


def each(kind: str | None, names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), kind)


ASKED = {"targets": "*i64", "ignored": "i32", "temperatures": "*fp32", **each("fp32", "temperature scale softcap")}


class Case(NamedTuple):
    kernel: Any
    arguments: dict[str, Any]
    registers: int
    """More would leave too few programs at a time on a processor."""
    wanted: tuple[str, ...] = ()
    multiples: tuple[str, ...] = ()
    warps: int = 4
    stages: int = 3


def rows(dtype: str) -> dict[str, Case]:
    """With a softcap and a temperature a row, which take the most registers."""
    given = ASKED | {"logits": f"*{dtype}"} | each("i32", "group far near first width segments")
    given |= {"SOFTCAP": True, "BLOCK": logprobs.BLOCK, "SEGMENT": logprobs.SEGMENT}
    states = {"states": "*fp32", "slots": "i32", "MOMENT": True, "WHOLE": True}
    told = each("*fp32", "largest logsum entropy of_logp of_entropy")
    told |= {"out": f"*{dtype}"} | each("i32", "out_group out_far out_near")
    warps, apart = logprobs.WARPS, ("far", "near", "out_far", "out_near")
    return {
        f"fold {dtype}": Case(row_kernels.fold, given | states, 64, (WIDE_LOAD,), apart[:2], warps),
        f"descend {dtype}": Case(row_kernels.descend, given | told, 128, (WIDE_LOAD, WIDE_STORE), apart, warps),
    }


def join() -> Case:
    given = each("*fp32", "states state logp entropy largest logsum") | each("i32", "n slots ignored")
    return Case(row_kernels.join, given | {"targets": "*i64", "ROWS": logprobs.JOINED, "SLOTS": 16}, 64)


def product(dtype: str, tiles: linear.Tiles, *, described: bool, softcap: bool = True, even: bool = True) -> Case:
    """A tile of hidden @ weight^T and its reduction: all registers there are, and not one more."""

    def matrix(height: int) -> str:
        return f"tensordesc<{dtype}[{height},{tiles.depth}]>" if described else f"*{dtype}"

    given = ASKED | each("i32", "hidden_stride weight_stride n v h row_blocks segments") | {"states": "*fp32"}
    given |= {"hidden": matrix(tiles.rows), "weight": matrix(tiles.columns), "bias": f"*{dtype}"}
    given |= {"TMA": described, "EVEN": even, "SOFTCAP": softcap, "MOMENT": True, "PRECISION": "tf32x3", "WIDEN": False}
    given |= {"ROWS": tiles.rows, "COLUMNS": tiles.columns, "DEPTH": tiles.depth, "SEGMENT": linear.SEGMENT}
    multiples = ("h", "hidden_stride", "weight_stride") if even else ()
    wanted = (TABLE,) if described else (r"cp\.async\.cg",) if even else ()
    return Case(linear_kernels.fold_product, given, 255, wanted, multiples, tiles.warps, tiles.stages)


def products(capability: int) -> dict[str, Case]:
    cases = {
        "product fp16, ragged": product("fp16", linear.RAGGED, described=False, even=False),
        "product bf16": product("bf16", linear.POINTED[2], described=False),
        "product fp32": product("fp32", linear.POINTED[4], described=False),
    }
    for dtype, size in (("bf16", 2), ("fp32", 4)):
        if capability >= 90:
            tiles = linear.DESCRIBED[capability // 10][size]
            cases[f"product {dtype}, described"] = product(dtype, tiles, described=True, softcap=False)
            cases[f"product {dtype}, capped"] = product(dtype, linear.CAPPED[size], described=True)
    return cases


def sparse_products(dtype: str) -> dict[str, Case]:
    sizes = each("i32", "height width pieces")
    sampled = each(f"*{dtype}", "left right") | each("i32", "left_stride right_stride many") | sizes
    sampled |= {"ids": "*i64", "out": "*fp32", "IDS": sparse.IDS, "DEPTH": sparse.DEPTH}
    summed = each("*i64", "bounds columns") | {"factors": "*fp32", "stride": "i32"} | sizes
    summed |= each(f"*{dtype}", "table out") | {"TERMS": sparse.TERMS, "BLOCK": sparse.BLOCK}
    apart = ("left_stride", "right_stride", "width")
    return {
        f"sampled {dtype}": Case(sparse_kernels.sampled_product, sampled, 128, (WIDE_LOAD,), apart),
        f"summed {dtype}": Case(sparse_kernels.sparse_product, summed, 128, (WIDE_LOAD,), ("stride", "width")),
    }


def without(case: Case, names: str) -> Case:
    """The same where these are not given."""
    return case._replace(arguments=case.arguments | each(None, names))


def lean() -> dict[str, Case]:
    """With nothing that can be left out."""
    row, scanned = rows("fp16"), recursions("fp32")["gae, rows, fp32"]
    return {
        "fold, lean": without(row["fold fp16"], "temperatures"),
        "descend, lean": without(row["descend fp16"], "temperatures entropy of_entropy"),
        "descend, of the entropy": without(row["descend fp16"], "of_logp"),
        "join, state": without(join(), "logp entropy largest logsum"),
        "join, said": without(join(), "state entropy"),
        "product, lean": without(product("fp16", linear.RAGGED, described=False), "bias temperatures"),
        "gae, lean": without(scanned, "dones next_values numbers"),
    }


def recursions(dtype: str) -> dict[str, Case]:
    pointer, wide = f"*{dtype}", dtype == "fp64"
    limit = 255 if wide else 192
    links = each(pointer, "maps carries") | {"total": "i32", "steps": "i32", "cu_seqlens": "*i64"}
    links |= {"DTYPE": tl.float64 if wide else tl.float32, "BLOCK": scans.BLOCK}
    given = links | each(pointer, "rewards values next_values log_ratios first second numbers") | {"rows": "i32"}
    given |= each("fp32", "gamma lam rho_clip trace_clip") | each("*u8", "mask dones")
    gae, whole, block = {"log_ratios": None}, {"WHOLE": True, "maps": None, "carries": None}, {"WHOLE": False}
    ways = {
        "gae, rows": gae | whole | {"cu_seqlens": None},
        "gae, maps": gae | block | {"carries": None},
        "gae, blocks": gae | block | {"maps": None},
        "vtrace, rows": whole | {"cu_seqlens": None},
        "vtrace, blocks": block | {"maps": None},
    }
    scanned = {f"{way}, {dtype}": Case(scan_kernels.scan, given | ways[way], limit, warps=scans.WARPS) for way in ways}
    return scanned | {f"chain, {dtype}": Case(scan_kernels.chain, links, 64, warps=1)}


def whitening() -> dict[str, Case]:
    tile = {"x": "*fp32", "mask": "*u8", "size": "i32", "DTYPE": tl.float32, "TILE": normalise.TILE}
    merged = {"parts": "*fp64", "tiles": "i32", "moments": "*fp64", "EPS": 1e-8, "TILES": normalise.TILES}
    moved = tile | {"moments": "*fp64", "out": "*fp32"}
    return {
        "partials": Case(normalise_kernels.partials, tile | {"parts": "*fp64"}, 128, (WIDE_LOAD,), ("size",)),
        "merge": Case(normalise_kernels.merge, merged, 64),
        "apply": Case(normalise_kernels.apply, moved, 128, (WIDE_LOAD, WIDE_STORE), ("size",)),
    }


def cases(capability: int) -> dict[str, Case]:
    """Where the generation of the GPU changes little, all of them for one and the most demanding for the others."""
    most = ("vtrace, rows", "vtrace, blocks")
    if capability == 90:
        wide = {name: case for name, case in recursions("fp64").items() if name.startswith(most)}
        rest = (
            rows("fp32") | sparse_products("fp32") | whitening() | {"join": join()} | lean() | recursions("fp32") | wide
        )
    else:
        rest = {name: case for name, case in recursions("fp32").items() if name.startswith(most)}
    return rows("bf16") | sparse_products("bf16") | products(capability) | rest


# What multiplies two registers: z = x * inner is `fma x, inner, 0`, lest it be fused.
MULTIPLIED = re.compile(r"\b(?:mul|fma\.rn)\.f32(?:x2)?\s+%\w+, (%\w+), (%\w+)\b")


@pytest.mark.parametrize("softcap", [False, True])
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_z_is_rounded_once_and_subtracted_as_it_is(capability: int, softcap: bool) -> None:
    """Multiplied anew within a difference, the largest z would not be 0 below itself, and its probability above 1."""
    case = without(rows("fp32")["fold fp32"], "temperatures")
    made = compiled(case.kernel, capability, case.arguments | {"SOFTCAP": softcap}, warps=case.warps)
    products = [frozenset(pair) for pair in MULTIPLIED.findall(made.ptx)]
    assert len(products) >= 32768 // (32 * case.warps * 8)  # a block of columns has so many a thread
    assert len(set(products)) == len(products)


@pytest.mark.parametrize(
    ("capability", "name"), [(capability, name) for capability in CAPABILITIES for name in cases(capability)]
)
def test_a_kernel_stays_within_its_means(capability: int, name: str) -> None:
    kernel, arguments, registers, wanted, multiples, warps, stages = cases(capability)[name]
    made = compiled(kernel, capability, arguments, multiples=multiples, warps=warps, stages=stages)
    assert made.spilled == 0
    assert made.registers <= registers
    assert made.shared <= SHARED[86 if capability == 80 else capability]  # what runs on one runs on the other
    for instruction in (*wanted, *((PRODUCT[capability],) if name.startswith("product") else ())):
        assert re.search(instruction, made.ptx), instruction


@pytest.mark.parametrize(
    "kernel",
    [row_kernels.fold, row_kernels.join, row_kernels.descend, linear_kernels.fold_product],
    ids=lambda k: k.__name__,
)
def test_where_the_numbers_of_rows_begin_is_no_reason_to_compile_anew(kernel: Any) -> None:
    specialised = {its.name for its in kernel.params if not its.is_constexpr and not its.do_not_specialize_on_alignment}
    assert "targets" in kernel.arg_names
    assert not specialised & {"targets", "temperatures", "largest", "logsum", "of_logp", "of_entropy"}
