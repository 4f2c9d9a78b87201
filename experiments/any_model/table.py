"""Deploys int8 files that others made to virtual boards: `python -m experiments.any_model.table > table.md`.

The reference models of MLPerf Tiny on the three boards that most of its results are from, and ST's zoo models on the
board that ST measured them on. Beside the estimate stand the latencies that were measured on the real boards, with
other runtimes: the fastest and the slowest of those that run the same int8 file, in brackets how many there are. All
milliseconds are for the board's full clock; what was measured at another one is converted.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from automcu.board import Board
from automcu.board_table import load_board
from automcu.deploy.choice import ProverSettings, prover_for
from automcu.deploy.own_model import OwnModel, deploy_model
from automcu.deploy.samples import random_inputs
from automcu.errors import AutoMCUError
from automcu.graph.tflite.reader import read_tflite

MLPERF = {
    "ic": "pretrainedResnet_quant.tflite",
    "vww": "vww_96_int8.tflite",
    "kws": "kws_ref_model.tflite",
    "ad": "ad01_int8.tflite",
    "sww": "str_ww_ref_model.tflite",
}
MLPERF_BOARDS = {"nucleo_l4r5zi": "STM32L4R5", "nucleo_u575zi_q": "STM32U575", "nucleo_h7a3zi_q": "STM32H7A3"}
ZOO_BOARD = "stm32h747i_disco"
COLUMNS = (
    "model | board | fits | bit-exact | Flash B | RAM B | instructions | per MAC | estimated ms | measured ms elsewhere"
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--samples", type=int, default=4, help="random inputs a model")
    parser.add_argument("--accuracy", action="store_true", help="labelled inputs too (10 minutes)")
    asked = parser.parse_args()
    print("|", COLUMNS, "|")
    print("|---|---|---|---|--:|--:|--:|--:|--:|--:|")
    for path, board, measured in cases(asked.data):
        print("|", " | ".join(row(path, board, measured, asked.samples)), "|", flush=True)
    if asked.accuracy:
        print("\n| model | inputs | board | right | of | accuracy | outputs equal to tflite-micro's |")
        print("|---|---|---|--:|--:|--:|--:|")
        for line in accuracies(asked.data):
            print("|", " | ".join(line), "|", flush=True)


def cases(data: Path) -> Iterator[tuple[Path, Board, list[float]]]:
    """Model file, board, and the latencies (ms) measured on that board with the same file, converted to its clock."""
    with open(data / "mlperf_tiny.csv", newline="") as file:
        results = [row for row in csv.DictReader(file) if not row["accelerator"] and row["dtype"] == "int8"]
    for benchmark, name in MLPERF.items():
        for board, part in MLPERF_BOARDS.items():
            measured = [
                float(row["latency_ms"]) * float(row["clock_mhz"]) * 1e6 / load_board(board).clock_hz
                for row in results
                if row["benchmark"] == benchmark and row["soc"].startswith(part) and "ONNC" not in row["model"]
            ]
            yield data / "mlperf_tiny_models" / name, load_board(board), measured
    with open(data / "st_model_zoo_footprints.csv", newline="") as file:
        zoo = [row for row in csv.DictReader(file) if row["board"] == "STM32H747I-DISCO" and row["inference_ms"]]
    board = load_board(ZOO_BOARD)
    for path in sorted((data / "st_models").glob("*.tflite")):
        measured = [
            float(row["inference_ms"]) * float(row["frequency"].removesuffix(" MHz")) * 1e6 / board.clock_hz
            for row in zoo
            if path.name in row["tflite_in_st_models"]
        ]
        yield path, board, measured


def row(path: Path, board: Board, measured: list[float], samples: int) -> tuple[str, ...]:
    """The cells of one model on one board."""
    tflite = path.read_bytes()
    known = f"{min(measured):,.1f} to {max(measured):,.1f} ({len(measured)})" if measured else ""
    try:
        own = deploy(
            tflite, path.name, board, random_inputs(samples, read_tflite(tflite), seed=0), None, ProverSettings()
        )
    except AutoMCUError as error:
        return path.stem, board.name, "no", str(error), "", "", "", "", "", known
    run = own.deployed.measurement
    assert run is not None, own.deployed.unverified
    return (
        path.stem,
        board.name,
        "yes",
        f"{run.matching} of {run.checked}",
        f"{run.flash_bytes:,}",
        f"{run.ram_bytes:,}",
        f"{run.ticks:,}",
        f"{run.ticks / own.report.macs:.2f}",
        "" if run.latency_ms is None else f"{run.latency_ms:,.1f}",
        known,
    )


def deploy(
    tflite: bytes,
    name: str,
    board: Board,
    inputs: np.ndarray,
    labels: np.ndarray | None,
    settings: ProverSettings,
) -> OwnModel:
    """The model built and run."""
    return deploy_model(tflite, name, board, prover_for(board, settings), inputs, labels)


def accuracies(data: Path) -> Iterator[tuple[str, ...]]:
    """Labelled inputs: the keyword model on a virtual board, ResNet-8 on one and, on all test images, on this host."""
    from automcu.architecture import Task
    from automcu.training.data import load_test

    models = data / "mlperf_tiny_models"
    words = np.load(models / "kws01_test.npz")
    inputs = words["x"].reshape(len(words["x"]), -1).view(np.uint8)
    virtual, host = ProverSettings(), ProverSettings(link="host")
    yield _accuracy(models / MLPERF["kws"], "1,000 keywords", "nucleo_l4r5zi", inputs, words["y"], virtual)

    task = Task("cifar10", "cifar10", (32, 32, 3), 10, "Small pictures.")
    test = load_test(task, (data,))
    images = (test.images ^ np.uint8(0x80)).reshape(len(test.images), -1)
    yield _accuracy(models / MLPERF["ic"], "200 test images", "nucleo_l4r5zi", images[:200], test.labels[:200], virtual)
    yield _accuracy(models / MLPERF["ic"], "all test images", "nucleo_l4r5zi", images, test.labels, host)


def _accuracy(
    path: Path, what: str, board: str, inputs: np.ndarray, labels: np.ndarray, settings: ProverSettings
) -> tuple[str, ...]:
    own = deploy(path.read_bytes(), path.name, load_board(board), inputs, labels, settings)
    run = own.deployed.measurement
    assert run is not None and own.accuracy is not None
    right = round(own.accuracy * len(labels))
    where = "this host, native" if settings.link == "host" else f"virtual {board}"
    return (path.stem, what, where, f"{right:,}", f"{len(labels):,}", f"{own.accuracy:.2%}", f"{run.matching:,}")


if __name__ == "__main__":
    main()
