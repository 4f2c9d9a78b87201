"""How a training sets up its process; what it asks of the processor."""

import subprocess
import sys

import pytest

from automcu.training.processor import faster_in_bfloat16

_FAULTS_OF_A_STEP = """
import resource, sys, torch
from automcu.training.processor import prepare
prepare(1)
def step():
    for megabytes in (4, 8, 16, 24):
        maps = [torch.ones(2**18 * megabytes) for _ in range(4)]
        del maps
for _ in range(8):  # the heap finds its size
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_the_memory_of_a_step_is_used_again_by_the_next():
    # In a process of its own, for the setting is for good. Eight steps touch 425,000 pages; without it, 200,000 fault.
    faults = subprocess.run(
        [sys.executable, "-c", _FAULTS_OF_A_STEP], check=True, timeout=60, capture_output=True, text=True
    )
    assert int(faults.stdout) < 20_000


@pytest.mark.parametrize(
    ("processor", "faster"),
    [
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True}, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": False}, False),
        ({"architecture": "aarch64"}, False),
    ],
)
def test_bfloat16_is_computed_where_it_is_faster(processor, faster):
    assert faster_in_bfloat16(processor) is faster
