"""The compiled CPU module, where there is one, as the files beside this one and `llama` call it.

The binary knows addresses and sizes, no tensors, so one build serves every torch. What makes an address safe is
checked or arranged by its callers: device, dtype, layout, contiguity, and a reference that outlives the call.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

try:
    # Not `from rlaif_kernels import _native`, which blames a circular import where the file is simply absent.
    import rlaif_kernels._native as binary
except ImportError as error:
    missing: str | None = f"the compiled module is not part of this installation ({error})"
else:
    missing = None

# Whether the binary can look at tensors by itself, which makes small calls cheap; torch tells how since 2.10 or so.
quick: bool = missing is None and (
    hasattr(Tensor, "__dlpack_c_exchange_api__")
    and binary.learn_tensors(
        Tensor.__dlpack_c_exchange_api__, Tensor, torch.nn.Parameter, torch.empty_like, torch.get_num_threads
    )
)

__all__ = ["DEVICE", "KINDS", "WRAPPED", "address", "binary", "build_info", "missing", "quick", "refuses"]


DEVICE = "cpu"
# There is no public question.
WRAPPED = getattr(torch._C._functorch, "is_functorch_wrapped_tensor", lambda _: True)  # noqa: SLF001
KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}  # as in csrc/kinds.hpp


def build_info() -> dict[str, str]:
    """How the binary was built, and which vector instructions and whose threads it uses here."""
    return binary.build_info()


def refuses(tensors: Sequence[Tensor | None]) -> str | None:
    """Why these tensors cannot be handed over as bare addresses; None if they can."""
    for tensor in tensors:
        if tensor is None:
            continue
        if type(tensor) not in (Tensor, torch.nn.Parameter):
            return f"needs plain tensors and got {type(tensor).__name__}"
        if WRAPPED(tensor):
            return "is not for tensors that torch.func has wrapped"
        if tensor.device.type != "cpu":
            return f"runs on the CPU and got a tensor on {tensor.device}"
        if tensor.layout != torch.strided or tensor.is_neg() or tensor.is_nested or tensor.is_quantized:
            return "needs dense tensors"
        if tensor.data_ptr() == 0 and tensor.numel() > 0:  # zeros that autograd makes, or what was freed
            return "needs tensors that have memory"
    return "cannot be traced by torch.compile" if torch.compiler.is_compiling() else None


def address(tensor: Tensor | None) -> int:
    """Where the data begins; 0, the null pointer, for an argument that was not given."""
    return 0 if tensor is None else tensor.data_ptr()
