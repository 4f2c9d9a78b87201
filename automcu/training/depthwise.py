"""Depthwise convolution on processors, with a faster gradient of wide kernels.

oneDNN has a fast gradient of the weights only for kernels 3 wide: that of 5x5 and 7x7 takes 10 to 15 times as long as
the convolution itself (measured, at stride 1; at stride 2 there is no fast one). A kernel's columns do not depend on
each other, so the gradient is put together from strips 3 wide.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_FAST_WIDTH = 3


def depthwise(maps: Tensor, kernel: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
    """`maps` (N, C, H, W) convolved with `kernel` (C, 1, K, K), `padding` zeros above and below, left and right."""
    if stride == 1 and kernel.shape[3] > _FAST_WIDTH and maps.device.type == "cpu":
        return _InStrips.apply(maps, kernel, padding)  # type: ignore[no-untyped-call, no-any-return]
    return F.conv2d(maps, kernel, None, stride, padding, groups=kernel.shape[0])


class _InStrips(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, kernel: Tensor, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(maps, kernel)
        ctx.padding = padding
        return F.conv2d(maps, kernel, None, 1, padding, groups=kernel.shape[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:  # type: ignore[override]
        maps, kernel = ctx.saved_tensors
        rows, left = ctx.padding
        of_maps = (
            _gradients(gradient, maps, kernel, (rows, left), [True, False])[0] if ctx.needs_input_grad[0] else None
        )
        of_kernel = torch.empty_like(kernel)
        last = kernel.shape[3] - _FAST_WIDTH
        for start in {*range(0, last, _FAST_WIDTH), last}:
            columns = slice(start, start + _FAST_WIDTH)
            # What the strip sees; a negative margin cuts off.
            seen = F.pad(maps, (left - start, left - (last - start)))
            strip = kernel[..., columns].contiguous()
            of_kernel[..., columns] = _gradients(gradient, seen, strip, (rows, 0), [False, True])[1]
        return of_maps, of_kernel, None


def _gradients(
    gradient: Tensor, maps: Tensor, kernel: Tensor, padding: tuple[int, int], wanted: list[bool]
) -> tuple[Tensor, Tensor]:
    """The gradients of maps and kernel, as far as they are wanted, from that of the convolution's output."""
    of_maps, of_kernel, _ = torch.ops.aten.convolution_backward(
        gradient, maps, kernel, None, [1, 1], list(padding), [1, 1], False, [0, 0], kernel.shape[0], [*wanted, False]
    )
    return of_maps, of_kernel
