"""What a training asks of the processor it runs on, and how it sets its process up for it."""

import ctypes
import sys
from collections.abc import Mapping

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK_BYTES = 2**25  # the most that glibc takes on 64 bits


def prepare(threads: int) -> None:
    """Have this process compute on `threads` threads and keep the memory that it frees.

    Every step frees the feature maps of the one before. Given back to the system, each page would be fetched and
    cleared again: a sixth to a third of the time of a step (measured). Does nothing about memory beside glibc.
    """
    torch.set_num_threads(threads)
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK_BYTES)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether `device` computes bfloat16 faster than float32. A fact of the processor, never a timing: what follows
    from the seed must not depend on how busy the machine is."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return faster_in_bfloat16(torch.cpu.get_capabilities())


def faster_in_bfloat16(processor: Mapping[str, object]) -> bool:
    """Whether a processor of these capabilities, as torch names them, computes bfloat16 faster than float32.

    Measured: AMD's AVX-512 is 1.4 to 2 times as fast in it; Intel's 0.6 times, which leaves the work to AMX, 2 to 2.4
    times as fast but hidden by some virtual machines.
    """
    avx512 = bool(processor.get("avx512_bf16")) and not str(processor.get("cpu_name", "")).startswith("Intel")
    return bool(processor.get("amx_bf16")) or avx512
