"""Networks of `mcu_cnn` and edits of them in plain words, for people and for the prompts of language models.

Stages count from 0, as in the names of layers.
"""

from automcu.spaces.mcu_cnn.description import CHOICES, McuCnn, PoolStage, Stage


def summary(cnn: McuCnn) -> str:
    """A network on one line, such as `conv 16 3x3 /2, separable 32 3x3 x2, dense 64`."""
    words = [stage_words(stage) for stage in cnn.stages]
    return ", ".join([*words, f"dense {cnn.hidden_units}"] if cnn.hidden_units else words)


def stage_words(stage: Stage) -> str:
    """A stage: block, channels, kernel, then only what is not 1: stride, expansion, repeats; and relu6."""
    if isinstance(stage, PoolStage):
        return f"{stage.block} {stage.kernel}x{stage.kernel}"
    words = [stage.block, str(stage.channels), f"{stage.kernel}x{stage.kernel}"]
    expansion = getattr(stage, "expansion", 1)
    words += [f"/{stage.stride}"] * (stage.stride > 1)
    words += [f"expansion {expansion}"] * (expansion > 1)
    words += [f"x{stage.repeats}"] * (stage.repeats > 1)
    words += [stage.activation] * (stage.activation != "relu")
    return " ".join(words)


def edit_words(before: McuCnn, after: McuCnn) -> str:
    """What turns `before` into `after`: the stages that differ, or the fields where one stage of a kind differs."""
    old, new = before.stages, after.stages
    least = min(len(old), len(new))
    head = next((i for i in range(least) if old[i] != new[i]), least)
    tail = next((i for i in range(least - head) if old[-1 - i] != new[-1 - i]), least - head)
    gone, come = old[head : len(old) - tail], new[head : len(new) - tail]
    edits = []
    if before.hidden_units != after.hidden_units:
        edits.append(f"hidden units {before.hidden_units} -> {after.hidden_units}")
    if len(gone) == len(come) == 1 and gone[0].block == come[0].block:
        changes = [
            f"{name} {getattr(gone[0], name)} -> {getattr(come[0], name)}"
            for name in CHOICES[type(gone[0])]
            if getattr(gone[0], name) != getattr(come[0], name)
        ]
        edits.append(f"stage {head}: {', '.join(changes)}")
    elif len(gone) == 2 and come == gone[::-1]:
        edits.append(f"swap stages {head} and {head + 1}")
    elif gone and come:
        edits.append(f"{_place(head, len(gone))}: {_listed(gone)} becomes {_listed(come)}")
    elif gone:
        edits.append(f"remove {_place(head, len(gone))} ({_listed(gone)})")
    elif come:
        where = f"before stage {head}" if head < len(old) else "at the end"
        edits.append(f"add {_listed(come)} {where}")
    return "; ".join(edits)


def _place(first: int, count: int) -> str:
    return f"stage {first}" if count == 1 else f"stages {first} to {first + count - 1}"


def _listed(stages: tuple[Stage, ...]) -> str:
    return ", ".join(map(stage_words, stages))
