"""Quantization: how are linear layers stored in 4 bits (nf4)? With bitsandbytes (QLoRA, Dettmers et al. 2023)."""

import importlib
import logging
import sys
from types import ModuleType
from typing import Any

from torch import nn

from warmstart.errors import MissingError, UsageError

KERNELS = "kernels"  # a package that fetches code from the Hub
CPU = "bitsandbytes.backends.cpu.ops"  # the logger of what bitsandbytes does on a CPU


def load_bitsandbytes() -> ModuleType | None:
    """The package, or None if it is not installed. PEFT imports it as well, so call this first.

    On a CPU with bf16, importing it would search the Hub for a faster kernel, and warn that there is none. Nothing is
    downloaded without a request, and `quantize` does not use that kernel anyway.
    """
    if "bitsandbytes" in sys.modules:
        return sys.modules["bitsandbytes"]
    logger, known = logging.getLogger(CPU), sys.modules.get(KERNELS)
    level = logger.level
    logger.setLevel(logging.ERROR)
    sys.modules[KERNELS] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        return importlib.import_module("bitsandbytes")
    except ImportError:
        return None
    finally:
        logger.setLevel(level)
        del sys.modules[KERNELS]
        if known is not None:
            sys.modules[KERNELS] = known


def quantize(body: nn.Module, names: list[str]) -> None:
    """Store these linear layers in 4 bits (nf4, double quantization), computing in the precision that they had."""
    package: Any = load_bitsandbytes()
    if package is None:
        raise MissingError("4-bit weights need the package bitsandbytes.", "pip install 'warmstart[qlora]'")
    for name in names:
        linear = body.get_submodule(name)
        if not isinstance(linear, nn.Linear):
            raise UsageError(
                f"the layers of {type(body).__name__} cannot be held in 4 bits: they are transposed.",
                "leave out --quantize, or name a base of Llama's kind",
            )
        small = package.nn.Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compute_dtype=linear.weight.dtype,
            quant_type="nf4",
        )
        # Else, on a CPU with bf16, the first prediction repacks the weights for a product that rounds its sums' scales
        # to bf16, needs widths that 32 divides, and has no gradient: what trains after it would learn nothing below.
        small.support_avx512bf16_for_cpu = False
        small.weight = package.nn.Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4")
        if linear.bias is not None:
            small.bias = nn.Parameter(linear.bias.data)
        body.set_submodule(name, small.to(linear.weight.device))  # .to() is what quantizes
