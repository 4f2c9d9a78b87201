"""ST's own figures for int8 networks whose files are at hand, as rows to fit and judge the estimate with."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from automcu.graph.int8 import Int8Graph, Operator, Tensor, Window
from automcu.graph.tflite.reader import read_tflite

KIB = 1024
OLD_ZOO_VERSION = "7.3.0"
"""What rows without a version are taken for: their figures equal those of 7.3.0 where a network has both."""
FAMILIES = {
    "FdMobileNet 0.25": "fdmobilenet",
    "ST FdMobileNet": "st_fdmobilenet",
    "MobileNet v1": "mobilenet_v1",
    "MobileNet v2": "mobilenet_v2",
    "ResNet v1 8": "resnet8",
    "ST EfficientNet": "efficientnet_lc",
    "ST MNIST": "st_mnist",
}


@dataclass(frozen=True, slots=True)
class Row:
    """What ST states for one network and tool version, in bytes; None where it states nothing.

    `use` is `fit` for rows whose very file is at hand, `check` for figures of another input size of such a network, or
    of builds optimized for time; the latter are predicted and judged, and take no part in the fit.
    """

    network: str
    family: str
    version: str
    use: str
    graph: Int8Graph
    activations: float
    weights: float | None = None
    runtime_ram: float | None = None
    code: float | None = None


def load_rows(data: Path) -> list[Row]:
    """All rows. `data` is the folder with `st_model_zoo_footprints.csv` and what belongs to it."""
    return [*_zoo_rows(data), *_report_rows(data), *_resized_rows(data), *_mlperf_rows(data)]


def _zoo_rows(data: Path) -> list[Row]:
    found = {}
    with (data / "st_model_zoo_footprints.csv").open() as file:
        for line in csv.DictReader(file):
            name = line["tflite_in_st_models"]
            if not name:
                continue
            version = line["stm32cubeai_or_stedgeai_version"].split("-")[-1]
            version = OLD_ZOO_VERSION if version == "not stated" else version
            found[name, version] = Row(
                name.removesuffix(".tflite"),
                next(family for start, family in FAMILIES.items() if line["model"].startswith(start)),
                version,
                "fit",
                read_tflite((data / "st_models" / name).read_bytes()),
                float(line["activation_ram_kib"]) * KIB,
                float(line["weights_flash_kib"]) * KIB,
                float(line["runtime_ram_kib"]) * KIB,
                float(line["code_flash_kib"]) * KIB,
            )
    return list(found.values())


def _report_rows(data: Path) -> list[Row]:
    """Captured reports with the model beside them. The NPU's (blazeface, STM32N6) is none of a Cortex-M core."""

    def read(path: str) -> Int8Graph:
        return read_tflite((data / "stedgeai_reports" / path).read_bytes())

    yamnet = read("stedgeai-1.0.0_yamnet-stm32-h7default/yamnet_256_64x96_tl_int8.esc10.tflite")
    finger = read("stedgeai-2.2.0_finger-int8-stm32h7/finger_int8.tflite")
    # Its input lies outside the activations and counts in "ram (total)", which the estimate is comparable with.
    mobilenet = read("xcubeai-7.1.0_mobilenetv2-u8-stm32f4/model.tflite")
    return [
        Row("yamnet_256_64x96", "yamnet", "7.3.0", "fit", yamnet, 112_196),
        Row("yamnet_256_64x96", "yamnet", "1.0.0", "fit", yamnet, 112_196, 139_176, 7_788, 52_285),
        Row("finger", "finger", "2.2.0", "fit", finger, 45_072, 433_896, 3_360, 29_496),
        Row("mobilenet_v2_0.35_224_u8", "mobilenet_v2", "7.1.0", "check", mobilenet, 761_315, 538_920),
    ]


def _resized_rows(data: Path) -> list[Row]:
    """Zoo rows (int8, STM32H747, activations in KiB) of networks that are at hand for another input size, and of one
    that is rebuilt from its paper."""
    figures = {
        ("mobilenet_v2_0.35_128_fft_int8", "mobilenet_v2", 224): {"7.3.0": 686.5, "10.0.0": 832.64},
        ("st_efficientnet_lc_v1_128_tfs_int8", "efficientnet_lc", 224): {"8.1.0": 393.17, "10.0.0": 430.78},
        ("fdmobilenet_0.25_224_tfs_int8", "fdmobilenet", 128): {"7.3.0": 51.0},
        ("st_fdmobilenet_v1_128_tfs_int8", "st_fdmobilenet", 224): {"7.3.0": 207.0},
    }
    rows = []
    for (name, family, side), versions in figures.items():
        graph = resized(read_tflite((data / "st_models" / f"{name}.tflite").read_bytes()), side)
        for version, kib in versions.items():
            rows.append(Row(f"{name} at {side}", family, version, "check", graph, kib * KIB))
    squeezenet = squeezenet_v1_1(224)
    for version, kib in {"8.1.0": 842.06, "10.0.0": 816.86, "3.0.0": 829.09}.items():
        rows.append(Row("squeezenet_v1.1_224 (rebuilt)", "squeezenet", version, "check", squeezenet, kib * KIB))
    return rows


def _mlperf_rows(data: Path) -> list[Row]:
    """Activation buffers of ST's MLPerf Tiny submissions with version 10.2, whose projects are built for
    speed."""
    names = {"ic": "resnet8", "vww": "mobilenet_v1", "kws": "dscnn", "sww": "dscnn_1d", "ad": "autoencoder"}
    files = {
        "ic": "pretrainedResnet_quant",
        "vww": "vww_96_int8",
        "kws": "kws_ref_model",
        "sww": "str_ww_ref_model",
        "ad": "ad01_int8",
    }
    largest: dict[tuple[str, str], int] = {}
    with (data / "mlperf_tiny.csv").open() as file:
        for line in csv.DictReader(file):
            version = line["runtime"].removeprefix("X-CUBE-AI v")
            if line["activation_bytes"] and version.startswith("10."):
                key = (line["benchmark"], "10.2.0")
                largest[key] = max(largest.get(key, 0), int(line["activation_bytes"]))
    return [
        Row(
            f"{files[benchmark]} (for speed)",
            names[benchmark],
            version,
            "check",
            read_tflite((data / "mlperf_tiny_models" / f"{files[benchmark]}.tflite").read_bytes()),
            activations,
        )
        for (benchmark, version), activations in sorted(largest.items())
    ]


def resized(graph: Int8Graph, side: int) -> Int8Graph:
    """`graph`, a classifier that ends in global pooling, for an input of `side` x `side` pixels."""
    shapes = {index: (1, side, side, graph.tensors[index].shape[3]) for index in graph.inputs}
    operators = []
    for operator in graph.operators:
        shape = shapes[operator.inputs[0]]
        old = graph.tensors[operator.output].shape
        shapes[operator.output] = _output_shape(operator, shape, old)
        operators.append(operator)
    tensors = tuple(replace(tensor, shape=shapes[index]) for index, tensor in enumerate(graph.tensors))
    return Int8Graph(tensors, tuple(operators), graph.inputs, graph.outputs)


def _output_shape(operator: Operator, shape: tuple[int, ...], old: tuple[int, ...]) -> tuple[int, ...]:
    if operator.kind == "PAD":
        return tuple(extent + operator.pads[2 * i] + operator.pads[2 * i + 1] for i, extent in enumerate(shape))
    if operator.window is not None:
        extents = [
            -(-(extent if operator.window.padding == "SAME" else extent - kernel + 1) // stride)
            for extent, kernel, stride in zip(shape[1:3], operator.window.kernel, operator.window.stride, strict=True)
        ]
        return (1, *extents, old[-1])
    if len(old) == 4 and old[1:3] != (1, 1):
        return (*shape[:3], old[3])
    return old


def squeezenet_v1_1(side: int) -> Int8Graph:
    """SqueezeNet 1.1 (a later variant of arXiv 1602.07360, by its authors) as an int8 graph; first layer unpadded."""
    tensors = [Tensor("input", (1, side, side, 3), "int8")]
    operators: list[Operator] = []

    def add(kind: str, sources: tuple[int, ...], channels: int, kernel: int, stride: int, padding: str) -> int:
        _, height, width, taken = tensors[sources[0]].shape
        lost = 0 if padding == "SAME" else kernel - 1
        shape = (1, -(-(height - lost) // stride), -(-(width - lost) // stride), channels)
        window = None
        if kind != "CONCATENATION":
            window = Window((kernel, kernel), (stride, stride), "SAME" if padding == "SAME" else "VALID")
        weights = (channels, kernel, kernel, taken) if kind == "CONV_2D" else ()
        bias = channels if weights else 0
        operators.append(Operator(f"op{len(operators)}", kind, sources, len(tensors), weights, bias, window))
        tensors.append(Tensor(f"op{len(operators) - 1}", shape, "int8"))
        return len(tensors) - 1

    last = add("CONV_2D", (0,), 64, 3, 2, "VALID")
    pool = (0, 0)
    first, second, third = [(16, 64)] * 2, [(32, 128)] * 2, [(48, 192)] * 2 + [(64, 256)] * 2
    for squeezed, expanded in (pool, *first, pool, *second, pool, *third):
        if not squeezed:
            last = add("MAX_POOL_2D", (last,), tensors[last].shape[3], 3, 2, "VALID")
            continue
        squeeze = add("CONV_2D", (last,), squeezed, 1, 1, "SAME")
        left = add("CONV_2D", (squeeze,), expanded, 1, 1, "SAME")
        right = add("CONV_2D", (squeeze,), expanded, 3, 1, "SAME")
        last = add("CONCATENATION", (left, right), 2 * expanded, 1, 1, "SAME")
    last = add("CONV_2D", (last,), 5, 1, 1, "SAME")
    return Int8Graph(tuple(tensors), tuple(operators), (0,), (last,))
