"""From an int8 .tflite file to the firmware image that runs it on a board."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from automcu.board import Board
from automcu.deploy.emit.emitter import emit_network
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.toolchain.toolchain import Image, Toolchain
from automcu.graph.constant_channels import remove_constant_channels
from automcu.graph.int8_model import Int8Model
from automcu.graph.kernel_sets import KernelSet, kernel_set_for
from automcu.graph.planner import MemoryPlan, plan_memory
from automcu.graph.tflite.constants import read_model


@dataclass(frozen=True, slots=True, eq=False)
class FirmwareOptions:
    """How firmware is made: the kernels, None for the fastest that the board's core can run; and whether channels that
    can only ever hold a constant are kept rather than removed, which changes no output."""

    kernels: KernelSet | None = None
    keep_constant_channels: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Firmware:
    """A linked image with what it was made from: the SHA-256 (hex) of the .tflite file, the network as it was emitted,
    the kernels, the plan of its arena, and all source files by name."""

    network_sha256: str
    model: Int8Model
    kernels: KernelSet
    plan: MemoryPlan
    sources: Mapping[str, str]
    image: Image


def build_firmware(tflite: bytes, board: Board, toolchain: Toolchain, options: FirmwareOptions) -> Firmware:
    """The firmware of the network in `tflite` for `board`.

    Raises `CandidateFailure` for a network that cannot be emitted, `ImageTooLarge` for one that does not fit the part,
    `InfraFailure` when the toolchain fails.
    """
    model = read_model(tflite)
    if not options.keep_constant_channels:
        model = remove_constant_channels(model)
    kernels = options.kernels or kernel_set_for(board.core)
    plan = plan_memory(model.graph, in_place_add=True, kernels=kernels)
    sha256 = hashlib.sha256(tflite).hexdigest()
    project = firmware_project(board, emit_network(model, plan, kernels, sha256))
    return Firmware(sha256, model, kernels, plan, project.sources, toolchain.build(project))
