"""What a finished run leaves for people and their notebooks: `candidates.parquet`, `costs.parquet`, `summary.md`,
`pareto.png`."""

import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from automcu.architecture import Task
from automcu.board import Board, Budget
from automcu.finished import Deployed, Evaluated, Failed, Finished, Rejected, Skipped, Stopped
from automcu.ledger import Costs
from automcu.pareto import pareto_front
from automcu.redaction import redacted
from automcu.report.costs import costs_lines, costs_section, costs_table
from automcu.report.plot import plot_front
from automcu.results import Deployment, FeasibilityReport, Measurement, TrialResult
from automcu.run_folder import RunFolder
from automcu.search import Funnel

SCHEMA_VERSION = 5
_FRONT_ROWS = 12


def write_results(
    folder: RunFolder,
    task: Task,
    board: Board,
    budget: Budget,
    judge: str,
    finished: Mapping[int, Finished],
    funnel: Funnel,
    costs: Costs,
    stopped_by: str | None,
    seconds: float,
    next_command: str,
) -> str:
    """Write all result files into the run folder; returns the summary to show on the screen.

    `judge` says which tier judged fit, and why; `stopped_by` what ended the proposing in good order before time and
    candidates were spent, if anything did; `next_command` is what to suggest after a success."""
    folder.write("candidates.parquet", candidates_table(finished))
    folder.write("costs.parquet", costs_table(costs, funnel, seconds))
    measured = [end for end in finished.values() if isinstance(end, Evaluated | Deployed)]
    front = pareto_front(
        measured,
        lambda end: (-end.chosen_by.int8_validation_accuracy, end.report.ram_bytes, end.report.flash_bytes),
    )
    front.sort(key=lambda end: -end.chosen_by.int8_validation_accuracy)
    rejected = [end for end in finished.values() if isinstance(end, Rejected)]
    folder.write("pareto.png", plot_front(task.name, board.name, budget, measured, front, rejected))
    winner = next((end for end in measured if isinstance(end, Deployed)), None)
    trained = [end for end in finished.values() if isinstance(end, Stopped | Evaluated | Deployed)]
    in_vain = sum(end.trial is not None for end in rejected)  # where training comes before the check
    infeasible = in_vain + sum(bool(budget.violations(end.report)) for end in trained)
    early = funnel.rejected - in_vain
    summary = _summary(task, board, budget, judge, funnel, early, costs, stopped_by, infeasible, winner, seconds)
    failures = [f"- candidate {end.candidate.id}, {end.stage}: {end.message}" for end in finished.values()
                if isinstance(end, Failed)]  # fmt: skip
    text = [f"# {task.name} on {board.name}", "", "```text", summary, "```", "", "## Pareto front", ""]
    text += [*_front_table(front), "", *costs_section(costs, funnel, seconds)]
    if failures:
        text += ["## Failures", "", *failures, ""]
    text += ["![accuracy against RAM and Flash](pareto.png)", ""]
    folder.write("summary.md", "\n".join(text).encode())
    if winner is None:
        return f"{summary}\n\nResults: {folder.path / 'summary.md'}"
    return (
        f"{summary}\n\nBundle:  {folder.path / winner.deployment.bundle}\nResults: {folder.path / 'summary.md'}, "
        f"candidates.parquet, costs.parquet, pareto.png\n"
        f"Next:    {next_command}"
    )


def nothing_deployed(funnel: Funnel, finished: Collection[Finished]) -> str:
    """Why a run ended without a network, and what to do."""
    if not funnel.feasible:
        return "no proposal fit the budget; raise budget.ram_kb, budget.flash_kb or budget.minutes"
    if not funnel.trained:
        return "no training ended in time; raise budget.minutes, or lower data.max_images or training.recipe.epochs"
    judged_late = any(isinstance(end, Rejected) and end.trial is not None for end in finished)
    went_on = any(isinstance(end, Failed) or (isinstance(end, Skipped) and end.stage == "evaluate") for end in finished)
    if judged_late and funnel.stopped and not went_on:
        return "what fits was stopped early, behind networks that do not fit; set search.check=before_training"
    return "no candidate got through conversion and deployment; see the failures in summary.md"


def candidates_table(finished: Mapping[int, Finished]) -> bytes:
    """A Parquet file with a row per candidate, in the order of their ids. Accuracies are shares in [0, 1]; what a
    candidate never got to is null. The schema's version is in the file's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": pa.int64(),
        "status": pa.string(),
        "origin": pa.string(),
        "space": pa.string(),
        "fingerprint": pa.string(),
        "architecture": pa.string(),
        "tier": pa.string(),
        "tool": pa.string(),
        "tool_version": pa.string(),
        "target": pa.string(),
        "margin": pa.float64(),
        "quantization": pa.string(),
        "macs": pa.int64(),
        "weights_bytes": pa.int64(),
        "code_bytes": pa.int64(),
        "activations_bytes": pa.int64(),
        "runtime_ram_bytes": pa.int64(),
        "binding_layer": pa.string(),
        "violations": pa.string(),
        "epochs": pa.int64(),
        "train_seconds": pa.float64(),
        "seed": pa.int64(),
        "float_validation_accuracy": pa.float64(),
        "int8_validation_accuracy": pa.float64(),
        "int8_test_accuracy": pa.float64(),
        "float_test_accuracy": pa.float64(),
        "final": pa.bool_(),
        "saw_validation": pa.bool_(),
        "tflite_bytes": pa.int64(),
        "fine_tuned": pa.bool_(),
        "int8_before_fine_tuning": pa.float64(),
        "layer_errors": pa.string(),
        "link": pa.string(),
        "unit": pa.string(),
        "ticks": pa.int64(),
        "checked": pa.int64(),
        "matching": pa.int64(),
        "image_flash_bytes": pa.int64(),
        "image_ram_bytes": pa.int64(),
        "stack_peak_bytes": pa.int64(),
        "latency_ms": pa.float64(),
        "latency_source": pa.string(),
        "energy_uj": pa.float64(),
        "learning_curve": pa.string(),
        "message": pa.string(),
    }
    rows = [_row(finished[candidate_id]) for candidate_id in sorted(finished)]
    schema = pa.schema(list(columns.items()), metadata={"automcu_schema_version": str(SCHEMA_VERSION)})
    table = pa.table({name: [row.get(name) for row in rows] for name in columns}, schema=schema)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _row(end: Finished) -> dict[str, Any]:
    architecture = end.candidate.architecture
    row: dict[str, Any] = {
        "id": end.candidate.id,
        "status": type(end).__name__.lower(),
        "origin": end.candidate.origin,
        "space": architecture.space,
        "fingerprint": architecture.fingerprint,
        "architecture": architecture.text,
    }
    match end:
        case Rejected(_, report, violations, trial):
            row |= _footprint(report) | {"violations": "; ".join(map(str, violations))}
            row |= {} if trial is None else _training(trial)
        case Stopped(_, report, trial):
            row |= _footprint(report) | _training(trial)
        case Evaluated(_, report, trial):
            row |= _footprint(report) | _training(trial) | _measurement(end)
        case Deployed(_, report, trial, _, test, deployment):
            row |= _footprint(report) | _training(trial) | _measurement(end)
            row |= {"int8_test_accuracy": test.int8_accuracy, "float_test_accuracy": test.float_accuracy}
            if deployment.measurement is not None:
                row |= _on_board(deployment.measurement)
        case Failed(_, stage, cause, message):
            row["message"] = redacted(f"{stage} ({cause}): {message}")
        case Skipped(_, stage):
            row["message"] = f"waiting for {stage} when the budget was spent"
    return row


def _footprint(report: FeasibilityReport) -> dict[str, Any]:
    names = ("tier", "tool", "tool_version", "target", "margin", "macs", "weights_bytes", "code_bytes",
             "activations_bytes", "runtime_ram_bytes", "binding_layer")  # fmt: skip
    return {name: getattr(report, name) for name in names} | {"quantization": report.QUANTIZATION}


def _training(trial: TrialResult) -> dict[str, Any]:
    return {
        "epochs": trial.curve[-1].epoch,
        "train_seconds": trial.seconds,
        "seed": trial.seed,
        "final": trial.final,
        "saw_validation": trial.saw_validation,
        "float_validation_accuracy": None if trial.saw_validation else trial.validation_accuracy,
        "learning_curve": json.dumps([asdict(point) for point in trial.curve]),
    }


def _measurement(end: Evaluated | Deployed) -> dict[str, Any]:
    return {
        # Of the same weights and images: the learning curve has what the training measured.
        "float_validation_accuracy": end.chosen_by.float_validation_accuracy,
        "int8_validation_accuracy": end.chosen_by.int8_validation_accuracy,
        "tflite_bytes": end.evaluation.tflite_bytes,
        "fine_tuned": end.evaluation.fine_tuned,
        "int8_before_fine_tuning": end.evaluation.converted_accuracy,
        "layer_errors": json.dumps([asdict(error) for error in end.evaluation.layer_errors]),
    }


def _on_board(measured: Measurement) -> dict[str, Any]:
    names = ("link", "unit", "ticks", "checked", "matching", "stack_peak_bytes", "latency_ms", "latency_source",
             "energy_uj")  # fmt: skip
    return {name: getattr(measured, name) for name in names} | {
        "image_flash_bytes": measured.flash_bytes,
        "image_ram_bytes": measured.ram_bytes,
    }


def _summary(
    task: Task,
    board: Board,
    budget: Budget,
    judge: str,
    funnel: Funnel,
    rejected_early: int,
    costs: Costs,
    stopped_by: str | None,
    infeasible: int,
    winner: Deployed | None,
    seconds: float,
) -> str:
    lines = [
        f"{funnel.proposed} architectures proposed ({funnel.invalid} invalid and {funnel.duplicate} duplicate offers "
        f"apart), {rejected_early} rejected before training, {funnel.trained} trained ({funnel.stopped} stopped "
        f"early), {infeasible} infeasible ones trained, {funnel.evaluated} converted to int8, {funnel.failed} failed, "
        f"{funnel.skipped} left when the budget was spent; {seconds / 60:.1f} minutes.",
        f"Fit was judged {FeasibilityReport.QUANTIZATION} by tier {judge}.",
        *costs_lines(costs, funnel, seconds),
    ]
    if stopped_by is not None:
        lines.append(f"Proposing was ended early by {stopped_by.rstrip('.')}.")
    if winner is None:
        return "\n".join([*lines, "No network was deployed."])
    report, evaluation, test = winner.report, winner.evaluation, winner.test
    return "\n".join(
        [
            *lines,
            "",
            f"Best: candidate {winner.candidate.id} ({winner.candidate.origin}) for {board.name}",
            f"  int8 test accuracy        {test.int8_accuracy:.2%} (float {test.float_accuracy:.2%}), "
            f"{test.images:,} {task.dataset} test images, looked at once, by {test.interpreter}",
            f"  int8 validation accuracy  {winner.chosen_by.int8_validation_accuracy:.2%} "
            f"({evaluation.validation_images:,} images held out of the training set; the choice was made on these"
            f"{', before the final phase trained on them too' * evaluation.trained_on})",
            f"  RAM   {report.ram_bytes:,} B of {budget.ram_bytes:,}: activations {report.activations_bytes:,} + "
            f"{f'{report.margin:.0%} margin + ' if report.margin else ''}runtime {report.runtime_ram_bytes:,}",
            f"  Flash {report.flash_bytes:,} B of {budget.flash_bytes:,}: weights {report.weights_bytes:,} + "
            f"code {report.code_bytes:,}",
            f"  by tier {report.tier}: {report.tool} {report.tool_version} for {report.target}, margin "
            f"{report.margin:.0%}, {report.QUANTIZATION}",
            f"  {report.macs:,} multiply-accumulates; .tflite file {evaluation.tflite_bytes:,} B; "
            f"torch and Keras agree to {evaluation.parity:.0e}",
            *told_deployment(winner.deployment),
        ]
    )


def told_deployment(deployment: Deployment) -> list[str]:
    """What the board said, in lines for the screen."""
    measured = deployment.measurement
    if measured is None:
        return [f"  NOT verified on any board: {deployment.unverified}"]
    return [
        f"  Firmware on {measured.link} board {measured.board}: {measured.matching} of {measured.checked} outputs "
        f"equal tflite-micro's byte for byte; {measured.ticks:,} {measured.unit} an inference",
        *told_measurement(measured),
    ]


def told_measurement(measured: Measurement) -> list[str]:
    """Size, stack and speed of firmware, in lines for the screen."""
    source = measured.latency_source
    latency = source if measured.latency_ms is None else f"{measured.latency_ms:,.1f} ms ({source})"
    energy = "" if measured.energy_uj is None else f"; about {measured.energy_uj:,.0f} uJ (estimate)"
    memory = f"arena {measured.arena_bytes:,}, stack {measured.stack_peak_bytes:,} used of {measured.stack_bytes:,}"
    image = f"Image {measured.flash_bytes:,} B of Flash, {measured.ram_bytes:,} B of RAM: "
    return [
        f"  {'' if measured.link == 'host' else image}{memory}",
        f"  Latency {latency}{energy}; {measured.kernels} kernels, {measured.toolchain}",
    ]


def _front_table(front: Sequence[Evaluated | Deployed]) -> list[str]:
    rows = [
        "| candidate | int8 validation | float validation | RAM B | Flash B | MACs | origin |",
        "|---:|---:|---:|---:|---:|---:|---|",
    ]
    for end in front[:_FRONT_ROWS]:
        report, evaluation = end.report, end.chosen_by
        rows.append(
            f"| {end.candidate.id} | {evaluation.int8_validation_accuracy:.2%} | "
            f"{evaluation.float_validation_accuracy:.2%} | {report.ram_bytes:,} | {report.flash_bytes:,} | "
            f"{report.macs:,} | {end.candidate.origin} |"
        )
    if len(front) > _FRONT_ROWS:
        rows.append(f"\n{len(front) - _FRONT_ROWS} more are in candidates.parquet.")
    return rows
