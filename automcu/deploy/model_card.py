"""The bundle's model card, in Markdown: what the network is, how it was measured, and what was not checked."""

from automcu.deploy.evidence import Design, Evidence
from automcu.deploy.st.profile import StProfile
from automcu.graph.int8_model import Int8Model
from automcu.messages import CardProse
from automcu.results import Evaluation, FeasibilityReport, Measurement


def model_card(evidence: Evidence, model: Int8Model, prose: CardProse | None = None) -> str:
    """The card of the network `model`, from the evidence of its bundle, with the deploy agent's `prose`."""
    board, design = evidence.board, evidence.design
    return "\n".join(
        [
            *(_own_model(evidence) if design is None else _designed(evidence, design)),
            *(_use(prose) if prose else []),
            f"## On {board.name}",
            "",
            *_on_board(evidence),
            "",
            "## Memory by tier",
            "",
            f"Budget: {evidence.budget.ram_bytes:,} B RAM, {evidence.budget.flash_bytes:,} B Flash, the runtime "
            f"included. Figures are those {FeasibilityReport.QUANTIZATION}; a tier's margin is added to its "
            "activations before they are judged.",
            "",
            "| tier | tool | target | RAM: activations | margin | RAM: runtime | Flash: weights | Flash: code | MACs |",
            "|---|---|---|---|---|---|---|---|---|",
            *map(_memory_row, _reports(evidence)),
            "",
            "## Input and output",
            "",
            *_ends(evidence, model),
            f"- `samples.npz`: {evidence.samples} inputs and the outputs that a correct runtime gives, byte for byte "
            f"({evidence.interpreter}).",
            "",
            *_files(evidence),
            "",
            "## Provenance",
            "",
            "| | |",
            "|---|---|",
            *(f"| {_text(name)} | {_code(value)} |" for name, value in sorted(evidence.provenance.items())),
            "",
            "## Licence",
            "",
            _licence(design),
            "",
        ]
    )


def _own_model(evidence: Evidence) -> list[str]:
    board = evidence.board
    return [
        f"# A model on {board.name}",
        "",
        f"An int8 network that was given to AutoMCU as a .tflite file, built for {board.name} ({board.part}, "
        f"{board.core}). What it is for, what it was trained on and how accurate it is, AutoMCU does not know.",
        "",
    ]


def _designed(evidence: Evidence, design: Design) -> list[str]:
    board, evaluation, test, trial = evidence.board, design.evaluation, design.test, design.trial
    return [
        f"# {_text(design.task.name)} on {board.name}",
        "",
        f"An int8 image classifier for {board.name} ({board.part}, {board.core}), designed, trained, converted and "
        f"checked by AutoMCU. Architecture `{design.candidate.architecture.fingerprint}` of space "
        f"`{design.candidate.architecture.space}`, candidate {design.candidate.id} ({_code(design.candidate.origin)}).",
        "",
        "## Task and data",
        "",
        f"{_text(design.task.description)} Data set {_code(design.task.dataset)}, {design.task.class_count} classes.",
        "",
        "## Accuracy",
        "",
        "| split | images | int8 | float |",
        "|---|---|---|---|",
        f"| validation{', trained on too' * evaluation.trained_on} | {evaluation.validation_images:,} "
        f"| {evaluation.int8_validation_accuracy:.2%} | {evaluation.float_validation_accuracy:.2%} |",
        f"| test | {test.images:,} | {test.int8_accuracy:.2%} | {test.float_accuracy:.2%} |",
        "",
        f"int8 is the accuracy of `model_int8.tflite` itself, run by {test.interpreter}; float is that of its weights "
        f"before quantization{', after training on in simulated int8' * evaluation.fine_tuned}. The network was chosen "
        f"on the validation split{', before it was trained on that too' * evaluation.trained_on}. The test set was "
        "opened once, for the network chosen. Float outputs of the trained and the converted network agree to "
        f"{evaluation.parity:.1e} of the largest one (or of 1).",
        "",
        "## Training",
        "",
        f"{'Final phase: ' * trial.final}{len(trial.curve)} epochs, seed {trial.seed}, {trial.seconds:.0f} s, "
        f"ended: {trial.ended}{', with half the batch of the recipe' * trial.halved_batch}.",
        "",
        *_int8_losses(evaluation),
    ]


def _int8_losses(evaluation: Evaluation) -> list[str]:
    """Where int8 lost, if it lost more than the settings allow."""
    if not evaluation.layer_errors:
        return []
    how = "was trained on in simulated int8" if evaluation.fine_tuned else "did not gain by training in simulated int8"
    return [
        f"Converted at first, int8 came to {evaluation.converted_accuracy or 0:.2%} in validation, lost more than the "
        f"settings allow, and the network {how}. Signal to noise of int8 after each layer, before that:",
        "",
        "| layer | dB |",
        "|---|---|",
        *(f"| {_code(error.layer)} | {error.decibels:.1f} |" for error in evaluation.layer_errors),
        "",
    ]


def _use(prose: CardProse) -> list[str]:
    return [
        "## Use and limitations",
        "",
        f"**Intended use.** {_text(prose.intended_use)}",
        "",
        f"**Limitations.** {_text(prose.limitations)}",
        "",
        f"Written by {_code(prose.author)} from the figures measured; code checked every number in these words.",
        "",
    ]


def _on_board(evidence: Evidence) -> list[str]:
    measured = evidence.measurement
    if measured is None and evidence.st is not None and evidence.st.profile is not None:
        return _by_st(evidence.st.profile, evidence.st.version, evidence.unverified)
    if measured is None:
        return [f"**Not run on any board**: {_text(evidence.unverified)}."]
    where = {
        "serial": "a real board",
        "virtual": "a virtual board (an emulator of the core with the part's memory map); **not verified on hardware**",
        "qemu": "a virtual board (QEMU); **not verified on hardware**",
    }.get(measured.link, "this host; **not verified on hardware**")
    return [
        f"Run on {where}: {measured.matching} of {measured.checked} outputs equal {evidence.interpreter}'s, byte for "
        "byte.",
        "",
        "| | |",
        "|---|---|",
        f"| one inference | {measured.ticks:,} {measured.unit} |",
        f"| latency | {_latency(measured)} |",
        f"| energy of the microcontroller | {_energy(measured)} |",
        f"| linked image | {measured.flash_bytes:,} B Flash, {measured.ram_bytes:,} B RAM (stack's reserve included) |",
        f"| arena | {measured.arena_bytes:,} B |",
        f"| stack | {measured.stack_peak_bytes:,} B at most, of {measured.stack_bytes:,} B |",
        f"| kernels | {_text(measured.kernels)} |",
        f"| toolchain | {_text(measured.toolchain)} |",
    ]


def _by_st(profile: StProfile, version: str, unverified: str) -> list[str]:
    def known(value: float | None, unit: str) -> str:
        return "unknown" if value is None else f"{value:,}{unit}"

    return [
        f"**Outputs not compared**: {_text(unverified)}.",
        "",
        f"| ST's runtime on the real board | by ST Edge AI {_text(version)} |",
        "|---|---|",
        f"| one inference | {profile.latency_ms:,.3f} ms, mean of {profile.samples} ({profile.least_ms:,.3f} to "
        f"{profile.most_ms:,.3f}), measured |",
        f"| cycles for a multiply-accumulate | {known(profile.cycles_per_mac, '')} |",
        f"| stack, heap | {known(profile.stack_bytes, ' B')}, {known(profile.heap_bytes, ' B')} |",
    ]


def _latency(measured: Measurement) -> str:
    source = _text(measured.latency_source)
    return source if measured.latency_ms is None else f"{measured.latency_ms:,.2f} ms ({source})"


def _energy(measured: Measurement) -> str:
    return "unknown" if measured.energy_uj is None else f"about {measured.energy_uj:,.0f} uJ an inference (estimate)"


def _reports(evidence: Evidence) -> list[FeasibilityReport]:
    vendor = None if evidence.design is None else evidence.design.evaluation.vendor_report
    return [evidence.report, *filter(None, [vendor])]


def _memory_row(report: FeasibilityReport) -> str:
    return (
        f"| {_text(report.tier)} | {report.tool} {_text(report.tool_version)} | {_text(report.target)} "
        f"| {report.activations_bytes:,} B | {report.margin:.0%} "
        f"| {report.runtime_ram_bytes:,} B | {report.weights_bytes:,} B | {report.code_bytes:,} B | {report.macs:,} |"
    )


def _ends(evidence: Evidence, model: Int8Model) -> list[str]:
    lines = []
    for what, indices in (("Input", model.graph.inputs), ("Output", model.graph.outputs)):
        for index in indices:
            tensor, quantization = model.graph.tensors[index], model.quantization[index]
            real = (
                "as it is"
                if quantization is None
                else (f"real value = (stored - ({quantization.zero_point})) * {quantization.scale:.9g}")
            )
            shape = " x ".join(map(str, tensor.shape[1:]))
            lines.append(f"- {what} {_code(tensor.name)}: {tensor.dtype}, {shape}; {real}.")
    if evidence.design is not None:
        lines += [
            "- The input is an image (height, width, channels), each value = pixel - 128. The outputs are logits, no "
            "softmax; the class is the place of the largest, the first of equals.",
        ]
    return lines


def _files(evidence: Evidence) -> list[str]:
    lines = ["## Files", "", "- `model_int8.tflite`: the network."]
    if evidence.design is not None:
        lines.append("- `model.c`, `model.h`: the same file as a C array, for TensorFlow Lite Micro.")
    if evidence.firmware:
        image = f", and the image built from it: `{evidence.board.name}.elf`, `{evidence.board.name}.bin`"
        if evidence.measurement is not None and evidence.measurement.link == "host":
            image = ""  # what was built was a program of the host
        lines.append(
            f"- `firmware/`: the network as C code with AutoMCU's kernels, start-up code and linker script{image}. "
            "An application needs "
            "`network.c`, `network.h` and the kernels alone: fill `network_input(0)`, call `network_run()`, read "
            "`network_output(0)`."
        )
    if evidence.st is not None:
        lines.append(
            f"- `st/`: the network as C code for ST's runtime, by ST Edge AI {_text(evidence.st.version)}, with a "
            "Makefile. ST's runtime is not in it: it comes with ST Edge AI Core, under ST's licence."
        )
    return [*lines, "- `evidence.json`: SHA-256 of every file, and all figures; `automcu verify` checks them again."]


def _licence(design: Design | None) -> str:
    ours = "AutoMCU and the code it emits are under Apache-2.0."
    if design is None:
        return f"{ours} The terms of the model are its owner's."
    return (
        f"{ours} The terms of the data set {_code(design.task.dataset)} may bind what is done with weights trained on "
        "it: check them before you ship."
    )


def _text(foreign: str) -> str:
    """Foreign text on one line, without what Markdown or HTML would act on."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in " ".join(foreign.split()))


def _code(foreign: str) -> str:
    """Foreign text as a code span that it cannot leave, in or out of a table."""
    return "`" + " ".join(foreign.split()).replace("`", "'").replace("|", "/") + "`"
