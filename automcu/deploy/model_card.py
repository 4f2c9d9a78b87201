"""The bundle's model card, in Markdown: what the network is, how it was measured, and what was not checked."""

from collections.abc import Mapping
from dataclasses import dataclass

from automcu.architecture import Candidate, Task
from automcu.board import Board, Budget
from automcu.export.int8_file import Int8File
from automcu.results import Evaluation, FeasibilityReport, TestResult, TrialResult


@dataclass(frozen=True, slots=True)
class CardFacts:
    """All that a model card tells. `provenance` (run, seed, versions) is shown as it is; `samples` counts images."""

    candidate: Candidate
    task: Task
    board: Board
    budget: Budget
    evaluation: Evaluation
    test: TestResult
    trial: TrialResult
    file: Int8File
    provenance: Mapping[str, str]
    samples: int


def model_card(facts: CardFacts) -> str:
    """The card's text."""
    evaluation, test, trial, file = facts.evaluation, facts.test, facts.trial, facts.file
    reports = [evaluation.report, *filter(None, [evaluation.vendor_report])]
    height, width, channels = file.input_shape
    lines = [
        f"# {_text(facts.task.name)} on {facts.board.name}",
        "",
        f"An int8 image classifier for {facts.board.name} ({facts.board.part}, {facts.board.core}), designed, trained, "
        f"converted and checked by AutoMCU. Architecture `{facts.candidate.architecture.fingerprint}` of space "
        f"`{facts.candidate.architecture.space}`, candidate {facts.candidate.id} ({_code(facts.candidate.origin)}).",
        "",
        "**Not verified on hardware yet**: nothing here was run on a board. Memory figures are those of the tiers "
        "named below; outputs were checked on the host.",
        "",
        "## Task and data",
        "",
        f"{_text(facts.task.description)} Data set {_code(facts.task.dataset)}, {facts.task.class_count} classes.",
        "",
        "## Accuracy",
        "",
        "| split | images | int8 | float |",
        "|---|---|---|---|",
        f"| validation | {evaluation.validation_images:,} | {evaluation.int8_validation_accuracy:.2%} "
        f"| {evaluation.float_validation_accuracy:.2%} |",
        f"| test | {test.images:,} | {test.int8_accuracy:.2%} | {test.float_accuracy:.2%} |",
        "",
        f"int8 is the accuracy of `model_int8.tflite` itself, run by {test.interpreter}; float is that of the trained "
        "network before quantization. The network was chosen on the validation split. The test set was opened once, "
        f"for the network chosen. Float outputs of the trained and the converted network differ by at most "
        f"{evaluation.parity:.1e}.",
        "",
        "## Memory",
        "",
        f"Budget: {facts.budget.ram_bytes:,} B RAM, {facts.budget.flash_bytes:,} B Flash, the runtime included. "
        f"Figures are those {FeasibilityReport.QUANTIZATION}; a tier's margin is added to its activations before they "
        "are judged.",
        "",
        "| tier | tool | target | RAM: activations | margin | RAM: runtime | Flash: weights | Flash: code | MACs |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(_memory_row, reports),
        "",
        "## Input and output",
        "",
        f"- Input: int8, {height} x {width} x {channels} (height, width, channels), each value = pixel - 128.",
        f"- Output: int8, {file.output_count} logits, no softmax; real value = (stored - ({file.output.zero_point})) * "
        f"{file.output.scale:.9g}. The class is the place of the largest, the first of equals.",
        f"- `samples.npz`: {facts.samples} inputs and the outputs that a correct runtime gives, byte for byte.",
        "",
        "## Training",
        "",
        f"{len(trial.curve)} epochs, seed {trial.seed}, {trial.seconds:.0f} s, ended: {trial.ended}.",
        "",
        "## Provenance",
        "",
        "| | |",
        "|---|---|",
        *(f"| {_text(name)} | {_code(value)} |" for name, value in sorted(facts.provenance.items())),
        "",
        "## Licence",
        "",
        f"AutoMCU is under Apache-2.0. The terms of the data set {_code(facts.task.dataset)} may bind what is done "
        "with weights trained on it: check them before you ship.",
    ]
    return "\n".join(lines) + "\n"


def _memory_row(report: FeasibilityReport) -> str:
    return (
        f"| {_text(report.tier)} | {report.tool} {_text(report.tool_version)} | {_text(report.target)} "
        f"| {report.activations_bytes:,} B | {report.margin:.0%} "
        f"| {report.runtime_ram_bytes:,} B | {report.weights_bytes:,} B | {report.code_bytes:,} B | {report.macs:,} |"
    )


def _text(foreign: str) -> str:
    """Foreign text on one line, without what Markdown or HTML would act on."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in " ".join(foreign.split()))


def _code(foreign: str) -> str:
    """Foreign text as a code span that it cannot leave, in or out of a table."""
    return "`" + " ".join(foreign.split()).replace("`", "'").replace("|", "/") + "`"
