"""A run whose network another one learns from; which teachers are refused, and why."""

import json
import shutil
from pathlib import Path

import pytest

from automcu.build_teacher import teacher_of
from automcu.config import read_config
from automcu.errors import ConfigError
from automcu.run_folder import weights_name
from tests.test_config import composed
from tests.test_launch import run

__all__ = ["run"]

SHORT = ("board=nucleo_f446re", "budget.candidates=1", "training.recipe.epochs=1", "deploy=files")
FINAL = ("final.candidates=1", "final.recipe.distillation=0.5", "final.recipe.epochs=2")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the digits, seed 0, without a final phase; made by the command line."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("teacher") / "run"
    command = [sys.executable, "-m", "automcu.launch", *SHORT, "cluster=inline", f"hydra.run.dir={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    return folder


def refused(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        teacher_of(read_config(composed(*overrides)))
    told = str(caught.value)
    assert "\n" not in told and len(told) < 500
    return told


def test_a_final_training_learns_from_it(run, taught: Path) -> None:
    result = run(*SHORT, *FINAL, f"teacher={taught}", "seed=1")
    assert result.code == 0, result.err
    assert f"Teacher: the network that {taught} deployed" in result.out


def test_it_is_read_whole(taught: Path) -> None:
    teacher = teacher_of(read_config(composed(*FINAL, f"teacher={taught}")))
    assert teacher is not None
    assert teacher.network.parameter_shapes == {name: array.shape for name, array in teacher.weights.items()}


def test_no_recipe_asks_for_one(taught: Path) -> None:
    assert teacher_of(read_config(composed())) is None
    # A final phase that there is none of asks for nothing.
    assert teacher_of(read_config(composed("final.recipe.distillation=0.5"))) is None
    assert "no recipe has distillation" in refused(f"teacher={taught}")


@pytest.mark.parametrize("asking", [FINAL, ("training.recipe.distillation=0.5",)])
def test_a_recipe_asks_for_one_and_none_is_named(asking: tuple[str, ...]) -> None:
    assert "name the folder of a run" in refused(*asking)


def test_one_that_saw_the_images_that_rank_is_refused(taught: Path, tmp_path: Path) -> None:
    in_search, ranked = ("training.recipe.distillation=0.5",), (*FINAL, "final.all_images=false")
    for asking in (in_search, ranked):
        assert teacher_of(read_config(composed(*asking, f"teacher={taught}"))) is not None
        for other in ("seed=1", "data.validation_share=0.3"):
            assert "images that this run validates on" in refused(*asking, f"teacher={taught}", other)
    saw = tmp_path / "saw"
    shutil.copytree(taught, saw)
    evidence = json.loads((saw / "best/evidence.json").read_bytes())
    evidence["design"]["trial"]["saw_validation"] = True
    (saw / "best/evidence.json").write_text(json.dumps(evidence))
    for asking in (in_search, ranked):
        assert "images that this run validates on" in refused(*asking, f"teacher={saw}")
    assert teacher_of(read_config(composed(*FINAL, f"teacher={saw}"))) is not None


def test_one_of_another_task_is_refused(taught: Path) -> None:
    assert "learned digits (8, 8, 1) with 10 classes" in refused(*FINAL, f"teacher={taught}", "task=cifar10")


@pytest.mark.parametrize("damaged", ["run.json", "best/evidence.json", weights_name(1)])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[" * 100_000])
def test_what_is_no_run_is_refused(taught: Path, tmp_path: Path, damaged: str, content: bytes | None) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(taught, folder)
    (name,) = [path.relative_to(folder) for path in folder.glob(damaged.replace("00001", "*"))][:1]
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    assert "no run that could be the teacher" in refused(*FINAL, f"teacher={folder}")
    assert "no run that could be the teacher" in refused(*FINAL, f"teacher={tmp_path / 'nowhere'}")
