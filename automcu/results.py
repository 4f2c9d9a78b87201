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
    `ram_bytes`, and not in `activations_bytes`. `cycles` estimates the clock cycles of an inference on `target`, None
    where there is no estimate. `binding_layer` makes the RAM peak, `heaviest_layer` holds most
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
    cycles: int | None = None

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
    """A finished training. `ended` says why it ended: all epochs done, stopped by the scheduler, or out of time.

    `final` is the long training of a finished search; where it `saw_validation`, the images of the validation split
    were trained on too, and an accuracy on them is no estimate. `halved_batch` says that memory did not suffice for
    the recipe's batch.
    """

    curve: tuple[EpochPoint, ...]
    ended: Literal["completed", "scheduler", "deadline"]
    seed: int
    seconds: float
    final: bool = False
    saw_validation: bool = False
    halved_batch: bool = False

    @property
    def validation_accuracy(self) -> float:
        """Float accuracy on the validation split after the last epoch."""
        return self.curve[-1].validation_accuracy


@dataclass(frozen=True, slots=True)
class LayerError:
    """How far the output of layer `layer` in int8 is from that in float: the signal-to-noise ratio in decibels, of all
    errors up to there. 200 stands for none."""

    layer: str
    decibels: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The converted network, measured: the int8 .tflite file itself, interpreted as a microcontroller would.

    Where int8 lost more than the settings allow, `layer_errors` say where, and the network was trained on in simulated
    int8; `fine_tuned` says whether that is what was measured, since it was better. `converted_accuracy` is the int8
    accuracy before that; the float accuracy is always of the weights that were measured.
    Where the validation images were `trained_on`, accuracies on them are no estimate of others.
    `parity` is the largest difference between the torch and the Keras network's float outputs, as a share of the
    largest output where that is more than 1.
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
    trained_on: bool = False
    layer_errors: tuple[LayerError, ...] = ()
    fine_tuned: bool = False
    converted_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class TestResult:
    """The one look at the test set: accuracy of the shipped int8 file, and of the float network beside it."""

    int8_accuracy: float
    float_accuracy: float
    images: int
    interpreter: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """Firmware of a network, run on a board and checked: `matching` of `checked` outputs were equal, byte for byte, to
    those of tflite-micro.

    `link` says how the board was reached (`virtual`, `qemu`, `serial`, `host`). `ticks` is the median of one inference,
    in `unit`. `flash_bytes` and `ram_bytes` (arena and the stack's reserve included) are those of the linked image,
    `arena_bytes` what the network takes of the second. `latency_ms` and `energy_uj` (of the microcontroller) are for
    one inference at the board's full clock, None where nothing is known; `latency_source` says whether the latency was
    measured or estimated, and by what.
    """

    board: str
    link: str
    unit: Literal["instructions", "cycles", "nanoseconds"]
    ticks: int
    checked: int
    matching: int
    flash_bytes: int
    ram_bytes: int
    arena_bytes: int
    stack_peak_bytes: int
    stack_bytes: int
    latency_ms: float | None
    latency_source: str
    energy_uj: float | None
    kernels: str
    toolchain: str
    image_sha256: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """A bundle that was written. `samples` counts the inputs in it with their expected outputs; `measurement` is what a
    board said of the firmware, None where no board could be asked, and `unverified` says why not."""

    board: str
    bundle: str
    samples: int
    measurement: Measurement | None
    unverified: str
    evidence_sha256: str
    seconds: float
