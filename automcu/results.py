"""Facts that come back from the stages. Verdicts are drawn elsewhere: `Budget.violations`, `Search`."""

from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Literal


@dataclass(frozen=True, slots=True)
class FeasibilityReport:
    """What one tier says an int8 network costs on a target: facts, which `Budget.violations` judges.

    RAM and Flash are two numbers each: activations (arena, input and output included) and runtime RAM; weights
    (with biases) and code. Figures are always those after int8 quantization (`QUANTIZATION`). `margin` is the share by
    which the tier asks `activations_bytes` to be raised before it is judged (0.0 where it is exact): it is in
    `ram_bytes`, and not in `activations_bytes`. `binding_layer` makes the RAM peak, `heaviest_layer` holds most
    weights, `busiest_layer` has most MACs. `target` is what the figures hold for: a series such as `stm32f4`, or
    `any Cortex-M`. `graph_fingerprint` identifies the int8 graph that was judged.
    """

    QUANTIZATION: ClassVar[str] = "after int8 quantization"

    graph_fingerprint: str
    macs: int
    weights_bytes: int
    code_bytes: int
    activations_bytes: int
    runtime_ram_bytes: int
    binding_layer: str
    heaviest_layer: str
    busiest_layer: str
    tier: str
    tool: str
    tool_version: str
    target: str
    margin: float

    @property
    def ram_bytes(self) -> int:
        """Peak RAM as it is judged: activations, raised by the margin, and runtime."""
        return ceil(self.activations_bytes * (1 + self.margin)) + self.runtime_ram_bytes

    @property
    def flash_bytes(self) -> int:
        """Flash: weights and code."""
        return self.weights_bytes + self.code_bytes


@dataclass(frozen=True, slots=True)
class EpochPoint:
    """One point of a learning curve; accuracy is a share in [0, 1] of the validation split, seconds since the start."""

    epoch: int
    train_loss: float
    validation_accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A finished training. `ended` says why it ended: all epochs done, stopped by the scheduler, or out of time."""

    curve: tuple[EpochPoint, ...]
    ended: Literal["completed", "scheduler", "deadline"]
    seed: int
    seconds: float

    @property
    def validation_accuracy(self) -> float:
        """Float accuracy on the validation split after the last epoch."""
        return self.curve[-1].validation_accuracy


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The converted network, measured: the int8 .tflite file itself, interpreted as a microcontroller would.

    `parity` is the largest absolute difference between the torch and the Keras network's float outputs.
    `report` is what the first tier that admitted the architecture says of the file; `vendor_report` what the second
    says, where there are two: AutoMCU's planner and a vendor's tool.
    """

    int8_validation_accuracy: float
    float_validation_accuracy: float
    validation_images: int
    parity: float
    tflite_bytes: int
    tflite_sha256: str
    report: FeasibilityReport
    vendor_report: FeasibilityReport | None
    seconds: float


@dataclass(frozen=True, slots=True)
class TestResult:
    """The one look at the test set: accuracy of the shipped int8 file, and of the float network beside it."""

    int8_accuracy: float
    float_accuracy: float
    images: int
    interpreter: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """A bundle that was written and validated. `matching` of `checked` host outputs were equal byte for byte."""

    board: str
    bundle: str
    checked: int
    matching: int
    evidence_sha256: str
    seconds: float
