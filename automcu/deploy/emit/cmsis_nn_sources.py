"""CMSIS-NN 4.0.0's sources, from the installed package `bakenn`, whose wheel has them as data (Apache-2.0).

The version is pinned and every file checked: what is emitted is known text. `bakenn`'s provenance record names the four
files that differ from upstream (memory functions, headers of hosted C); none differs in what it computes.
"""

from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from automcu.errors import ConfigError, InfraFailure

PACKAGE = "bakenn"
VERSION = "1.0.0"
_FOLDER = "bakenn/backend/cmsis_nn/vendor"
_INSTALL = f"pip install --no-deps {PACKAGE}=={VERSION}"
_REMEDY = f"install it again: pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}"
# No C library is there to give <math.h>; memcpy and memset are the firmware's.
_FIRST = "arm_nn_math_types.h"
_PROLOGUE = """\
#define BAKENN_CMSIS_NN_FREESTANDING
#define bakenn_cmsis_memcpy memcpy
#define bakenn_cmsis_memset memset
"""
_HASHES = {
    "cmsis_core/Include": {
        "cmsis_compiler.h": "b51963d271c1571ca3463654c76aa7ea50c4eac5d0a2710df10414ac64d9e0f8",
        "cmsis_gcc.h": "43bfd1fe69fbbc2ca70aaf7d43cc3e20f16e0c7f66e1bdef9b51af6dc14b2617",
    },
    "cmsis_nn/Include": {
        "arm_nn_math_types.h": "3f3c21e68b0fb07af8f43765477cc69a04f538a1eecd152d6d9caab331edae91",
        "arm_nn_types.h": "edbda39d2c9aa65b02366a18403ee0c710bad0c24deab39af5d5408ebdede7e6",
        "arm_nnfunctions.h": "576182dee8c156847fbdcbf92d5e9abf2c6f359ebeb7838fe08213ccad81ce21",
        "arm_nnsupportfunctions.h": "ecad78ddb1abb0737c9beed6fdc750303bde5d7e98c8bcb92f10a21c954f2ca6",
    },
    "cmsis_nn/Source/ConvolutionFunctions": {
        "arm_convolve_1_x_n_s8.c": "744ba8cf1b5f2b6ffb07eba1f6b4d9c694039d7dd7f3c747f9bba1c8d13c4640",
        "arm_convolve_1x1_s8.c": "f805ed70d7a43a24069d6fb86ae48c68b61e3596fa55dd65c107e84b9948025c",
        "arm_convolve_1x1_s8_fast.c": "c45e80f5d472adc6bcfdef6269d38120db17d1ea7b23e99eab26e2c334b0fe99",
        "arm_convolve_s8.c": "1c1cdf9fc96d2717b70fcec8c57085818c6bca05f9363ea6cc495e1432eb9e68",
        "arm_convolve_wrapper_s8.c": "a274232bc713f8fdd06e17d249bc6f82173c0297e8b843bbae2895fb7e4c29d6",
        "arm_depthwise_conv_3x3_s8.c": "0904a02a497b5bb3523b9bfb52ffa7fa0404458221c5abad5b8a88bd9d8422cc",
        "arm_depthwise_conv_s8.c": "403a9bb753a55c9be1f43b0fb7b558999c7c1c55152a0d90ea30571c004e55e2",
        "arm_depthwise_conv_s8_opt.c": "28bfa1416b04eb78569b221f6e999a7a1a676f5c5e0dc3066e6cce4230207563",
        "arm_depthwise_conv_wrapper_s8.c": "78b3573be69568bab69b0ecfe27a202e8a5d85bb6614bca81274149c985c314c",
        "arm_nn_mat_mult_kernel_s8_s16.c": "7e5da0f23fe6180b06eb0a8de6d532e0f7fa46615071a0322766dc514db9f2a1",
        "arm_nn_mat_mult_s8.c": "c26e28a2e053f81c1c3068f1faf746e44178186ee4d9edd70ca9c17ab2b3a5bd",
    },
    "cmsis_nn/Source/FullyConnectedFunctions": {
        "arm_fully_connected_s8.c": "dec82727d32900c07f5a0cd6be1cb6e995bbbf75a7b11adf176c7306c6607b48",
    },
    "cmsis_nn/Source/NNSupportFunctions": {
        "arm_nn_depthwise_conv_nt_t_padded_s8.c": "353606e214446234cedbb81517bf41324a2a5b43f939355ae61425fcdab9b019",
        "arm_nn_depthwise_conv_nt_t_s8.c": "9075b39169ffa0a473e15bf878fc99a515b869ee004a5889a26a0ee106d8e4e8",
        "arm_nn_mat_mul_core_1x_s8.c": "4f775fb372b3decfcc12a6b1f6eaa0b77c47dadf00d5ee4677142e48af004259",
        "arm_nn_mat_mul_core_4x_s8.c": "3a01e3b9befd2a1a424d68f69aded5b3415cf8cf0ecc7e45f27cc02a22d65e1d",
        "arm_nn_mat_mult_nt_t_s8.c": "22c07d959aa11960844a2e54aee01c9af6d5a78a1880f634a92d6acf9947b281",
        "arm_nn_vec_mat_mult_t_s8.c": "abcc13fd57874e61a0ba8a0750e9ee6d3e0e476267d3ade2bdc134e64a96f7ab",
        "arm_q7_to_q15_with_offset.c": "acd8e32e5bf3ee50a965a68b42f431cd5533bb0f6399f68e998340388d0c0612",
    },
    "cmsis_nn/Source/PoolingFunctions": {
        "arm_avgpool_s8.c": "0549b383989334f8a2e2aa062a4d9c1ef526734baca623d7aaf64f94b6fe3c71",
        "arm_max_pool_s8.c": "c43fa3ccdfde60c39dfb889257a3d1fa08a91736185337e7f2478995ecb3d79b",
    },
}


@cache
def cmsis_nn_sources() -> dict[str, str]:
    """All files by plain name, ready to be compiled.

    Raises `ConfigError` when the package or this version of it is not installed, `InfraFailure` when a file is not what
    was published.
    """
    try:
        installed = distribution(PACKAGE)
    except PackageNotFoundError:
        raise ConfigError(
            f"CMSIS-NN comes with the package {PACKAGE}, which is absent; install it: {_INSTALL}"
        ) from None
    if installed.version != VERSION:
        raise ConfigError(f"{PACKAGE} is {installed.version:.20}, not {VERSION}; install that version: {_INSTALL}")
    folder = Path(str(installed.locate_file(_FOLDER)))
    return {
        name: _checked(folder / place / name, expected)
        for place, names in _HASHES.items()
        for name, expected in names.items()
    }


def _checked(path: Path, expected: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InfraFailure(f"{path.name} of {PACKAGE} cannot be read ({error.strerror}); {_REMEDY}") from error
    if sha256(data).hexdigest() != expected:
        raise InfraFailure(f"{path.name} of {PACKAGE} is not the published file; {_REMEDY}")
    return (_PROLOGUE if path.name == _FIRST else "") + data.decode("utf-8")
