"""Measured inference times of int8 networks on Cortex-M boards, as clock cycles beside the graph that was run.

Three sources: MLPerf Tiny's results (the five reference networks, many runtimes and boards), the tables of ST's model
zoo (STM32H747 and F769), and a sample of NATS-Bench-MCU (NAS-Bench-201's networks on an nRF5340).
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from automcu.graph.constant_channels import remove_constant_channels
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph
from automcu.graph.latency import graph_work
from automcu.graph.tflite.constants import read_model
from experiments.latency.nasbench import graph_of
from experiments.st_calibration.rows import resized, squeezenet_v1_1

Source = Literal["mlperf_tiny", "st_model_zoo", "nats_bench_mcu"]
CORES = {"Cortex-M0+": "cortex-m0+", "Cortex-M4": "cortex-m4f", "Cortex-M7": "cortex-m7f", "Cortex-M33": "cortex-m33f"}
"""Cores as MLPerf Tiny names them. Its Cortex-M85 (Helium) is none of AutoMCU's."""
REFERENCE = {
    "ic": "pretrainedResnet_quant",
    "vww": "vww_96_int8",
    "kws": "kws_ref_model",
    "ad": "ad01_int8",
}
"""MLPerf Tiny's networks but for sww, whose measured time includes the audio features."""
NRF5340_HZ = 64e6
"""The sample does not state the clock; 64 MHz is the nRF5340's at reset. The constant of the runtime absorbs it."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """`cycles` clock cycles of one inference of `network`, by `runtime` (with version) on `board`; `graph` is what ran.

    `family` joins networks that differ by input size, width or training alone: it is left out as a whole (NAS-Bench's
    networks one by one, as their board has no others). `kernels` joins runtimes whose kernels are versions of one
    another.
    """

    source: Source
    network: str
    family: str
    board: str
    core: str
    runtime: str
    kernels: str
    cycles: float
    graph: Int8Graph
    work: tuple[float, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of what ran."""
        return costs(self.graph).total_macs


def load_measurements(data: Path) -> list[Measurement]:
    """All of them; `data` is the folder that holds the tables and models."""
    return [*_mlperf_rows(data), *_zoo_rows(data), *_nats_rows(data)]


@cache
def _graph(path: Path, live: bool, side: int | None) -> Int8Graph:
    """The graph of a file, for another input size if `side` is given; without constant channels if `live`."""
    model = read_model(path.read_bytes())
    if live:
        model = remove_constant_channels(model)
    return model.graph if side is None else resized(model.graph, side)


def _runtime(text: str, round_: str) -> tuple[str, str]:
    """Name with version, and family of kernels, of a runtime as MLPerf Tiny's table writes it."""
    if text.startswith("X-CUBE-AI"):
        version = ".".join(text.split(" v")[-1].split(".")[:2])
        return f"X-CUBE-AI {version}", _st_kernels(version)
    if text.startswith("Bosch"):
        return f"Bosch HALE {text.split()[-1]}", "Bosch HALE"
    if text.startswith("Plumerai"):
        dated = text.split()[-1]
        return f"Plumerai {dated if dated[0].isdigit() else round_}", "Plumerai"
    if text.startswith("microTVM"):
        on_cmsis = "CMSIS-NN" in text
        return ("microTVM + CMSIS-NN", "CMSIS-NN") if on_cmsis else ("microTVM, own kernels", "microTVM, own kernels")
    if text.startswith("TensorFlow Lite for Microcontrollers v2.3.1"):
        return "TFLM 2.3.1 (2021)", "TFLM 2.3.1 (2021)"
    if text.startswith("tflite-micro + CMSIS-NN"):
        return "TFLM + CMSIS-NN", "CMSIS-NN"
    raise ValueError(f"unknown runtime {text}")


def _st_kernels(version: str) -> str:
    return "X-CUBE-AI 7 and 8" if float(version) < 9 else "X-CUBE-AI 9 and later"


def _mlperf_rows(data: Path) -> Iterator[Measurement]:
    """CPU results of the reference int8 files. Left out: weights copied to RAM and the minimum-RAM variant (`notes`),
    and the one vww of which it is unknown whether constant channels ran."""
    with (data / "mlperf_tiny.csv").open() as file:
        for line in csv.DictReader(file):
            benchmark = line["benchmark"]
            usable = not line["accelerator"] and line["dtype"] == "int8" and "reference int8" in line["model"]
            variant = "copied to RAM" in line["notes"] or "minimum-RAM" in line["notes"]
            channels = line["vww_constant_channels"]
            if (
                not usable
                or variant
                or benchmark not in REFERENCE
                or line["core"] not in CORES
                or channels == "unknown"
            ):
                continue
            runtime, kernels = _runtime(line["runtime"], line["round"])
            path = data / "mlperf_tiny_models" / f"{REFERENCE[benchmark]}.tflite"
            graph = _graph(path, channels == "removed", None)
            yield Measurement(
                "mlperf_tiny",
                benchmark,
                {"vww": "mobilenet_v1", "ic": "resnet8"}.get(benchmark, benchmark),
                line["board"].upper().replace("_", "-").removesuffix("-Q").removesuffix("-P"),
                CORES[line["core"]],
                runtime,
                kernels,
                float(line["clock_mhz"]) * 1e6 / float(line["inf_per_s"]),
                graph,
                graph_work(graph),
            )


_ZOO_NETWORKS = {
    "FdMobileNet 0.25": ("fdmobilenet_0.25_224_tfs_int8", 224, "fdmobilenet"),
    "MobileNet v1 0.25": ("mobilenet_v1_0.25_224_fft_int8", 224, "mobilenet_v1"),
    "MobileNet v1 0.5": ("mobilenet_v1_0.5_224_fft_int8", 224, "mobilenet_v1"),
    "MobileNet v2 0.35": ("mobilenet_v2_0.35_128_fft_int8", 128, "mobilenet_v2"),
    "ResNet v1 8": ("resnet_v1_8_32_tfs_int8", 32, "resnet8"),
    "ST EfficientNet LC v1": ("st_efficientnet_lc_v1_128_tfs_int8", 128, "efficientnet_lc"),
    "ST FdMobileNet v1": ("st_fdmobilenet_v1_128_tfs_int8", 128, "fdmobilenet"),
    "ST MNIST": ("st_mnist_v1_28_tfs_int8", 28, "st_mnist"),
}
"""The beginning of a model's name in ST's tables: file, its input size, family."""
_ZOO_DATA_SETS = ("Flowers", "Cifar 10", "CIFAR-10", "EMNIST-Byclass")
"""Those that the files were trained for: another number of classes is another network."""


def _zoo_rows(data: Path) -> Iterator[Measurement]:
    """ST's measurements of networks that are at hand, for the size of the file or another; each once. Rows without a
    version are those of 7.3 again."""
    seen = set()
    with (data / "st_model_zoo_footprints.csv").open() as file:
        for line in csv.DictReader(file):
            measured = line["format"].lower().startswith("int8") and line["inference_ms"]
            if not measured or line["frequency"] == "NPU" or line["dataset"] not in _ZOO_DATA_SETS:
                continue
            sides = line["input"].split("x")
            grey_flowers = line["dataset"] == "Flowers" and sides[2:] == ["1"]
            side = int(sides[0])
            found = _zoo_network(data, line["model"], side, line["stm32cubeai_or_stedgeai_version"])
            if found is None or grey_flowers:
                continue
            network, family, runtime, graph = found
            # The tables call the F769 an H769 in places, a part that does not exist.
            board = line["board"].replace("STM32H769I", "STM32F769I").upper()
            key = (network, board, runtime)
            if key not in seen:
                seen.add(key)
                clock_hz = float(line["frequency"].removesuffix(" MHz")) * 1e6
                yield Measurement(
                    "st_model_zoo",
                    network,
                    family,
                    board,
                    "cortex-m7f",
                    runtime,
                    "X-CUBE-AI 7 and 8" if runtime.split()[1][0] in "78" else "X-CUBE-AI 9 and later",
                    float(line["inference_ms"]) / 1000 * clock_hz,
                    graph,
                    graph_work(graph),
                )


def _zoo_network(data: Path, model: str, side: int, tool: str) -> tuple[str, str, str, Int8Graph] | None:
    name, _, version = tool.partition("-")
    version = ".".join(version.split(".")[:2]) if version else "7.3"
    runtime = f"ST Edge AI {version}" if name == "stedgeai" else f"X-CUBE-AI {version}"
    live = runtime != "X-CUBE-AI 7.3"
    if model.startswith("SqueezeNet v1.1"):
        return f"squeezenet_v1.1@{side}", "squeezenet", runtime, squeezenet_v1_1(side)
    start = next((start for start in _ZOO_NETWORKS if model.startswith(start)), None)
    if start is None:
        return None
    file, own_side, family = _ZOO_NETWORKS[start]
    if file == "mobilenet_v1_0.25_224_fft_int8" and side == 96:
        file, own_side = "mobilenet_v1_0.25_96_fft_int8", 96
    graph = _graph(data / "st_models" / f"{file}.tflite", live, None if side == own_side else side)
    return f"{file}@{side}", family, runtime, graph


def _nats_rows(data: Path) -> Iterator[Measurement]:
    for row in pq.read_table(data / "nats_mcu_nrf5340_sample.parquet").to_pylist():
        graph = graph_of(row["arch_str"])
        if graph is not None:
            name = f"nasbench201/{row['index']}"
            yield Measurement(
                "nats_bench_mcu",
                name,
                name,
                "NRF5340 DK",
                "cortex-m33f",
                "TFLM (NATS-Bench-MCU)",
                "CMSIS-NN",
                row["latency_s"] * NRF5340_HZ,
                graph,
                graph_work(graph),
            )
