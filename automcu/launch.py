"""The main job: `python -m automcu.launch +experiment=NAME`. Hydra composes the configuration; `automcu.run` carries it
out, or `automcu.bench` where it has a comparison.

Exit code 0: a network was bundled; 1: the run ended without one, or its proposer gave up on the way; 2: the run could
not be carried out; 130: interrupted. A multirun ends with the highest of its jobs' codes, and one failed job does not
keep the others from running.
"""

import hashlib
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from automcu.errors import AutoMCUError

CONF = Path(__file__).parent.parent / "conf"
"""The configuration groups, beside the package."""
_exit_codes: list[int] = []


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _job(composed: DictConfig) -> None:
    from automcu.bench import run_benchmark
    from automcu.run import refused, run, run_in_sweep

    began = time.monotonic()
    folder = Path(HydraConfig.get().runtime.output_dir)
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        whole, told = _plain(composed, resolve=False), f"{' and '.join(missing)} must be given; add {missing[0]}=VALUE"
        _exit_codes.append(refused(whole, folder, told))
        return
    whole = _plain(composed, resolve=True)
    composed_by = list(HydraConfig.get().overrides.task)
    swept = HydraConfig.get().mode == RunMode.MULTIRUN
    if "benchmark" in whole:
        code = run_benchmark(whole, folder)
    else:
        code = (run_in_sweep if swept else run)(whole, composed_by, folder, began)
    _exit_codes.append(code)
    if code == 130:
        raise KeyboardInterrupt
    if swept and code:
        print(f"automcu: job {HydraConfig.get().job.num} ended with exit code {code}", file=sys.stderr, flush=True)


def _plain(composed: DictConfig, *, resolve: bool) -> dict[str, Any]:
    container = OmegaConf.to_container(composed, resolve=resolve)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def job_folder(composed: DictConfig) -> str:
    """The folder of a multirun's job: who proposes, the model, the seed, and a hash of the whole configuration, by
    which a multirun with other jobs beside it finds it again."""
    whole = _plain(composed, resolve=False)
    hashed = {key: value for key, value in whole.items() if key != "hydra"}
    what = whole["proposer"]["kind"]
    if "benchmark" in whole:
        # Caps may be raised, and work moved: the rows are the same.
        what, compared = "nasbench201", {**whole["benchmark"], "asked_at_once": 0}
        hashed = {"benchmark": compared, "llm": whole["llm"], "seed": whole["seed"]}
    digest = hashlib.sha256(json.dumps(hashed, sort_keys=True, default=str).encode()).hexdigest()
    names = [what, whole["llm"]["kind"], f"seed{whole['seed']}", digest[:8]]
    return "-".join(str(name) for name in names if name != "none")


def main() -> int:
    """Run the command line; returns the exit code."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Hydra would print every request to a model that is served
    OmegaConf.register_new_resolver("job_folder", lambda *, _root_: job_folder(_root_), replace=True)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets Hydra's exceptions through, so that they are told in our words
    try:
        _job()
    except KeyboardInterrupt:
        return 130
    except (HydraException, OmegaConfBaseException) as error:
        print(f"automcu: {_one_sentence(error)}", file=sys.stderr)
        return 2
    except AutoMCUError as error:
        print(f"automcu: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(
            f"automcu: cannot write {error.filename} ({error.strerror}); choose a writable run folder with "
            "hydra.run.dir=FOLDER",
            file=sys.stderr,
        )
        return 2
    return max(_exit_codes, default=0)


def _one_sentence(error: Exception) -> str:
    """Hydra's message without its lay-out, and with what is on offer where it is short of that."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines)
    if "Could not find 'experiment/" in text:
        known = ", ".join(sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
        return f"{lines[0].split(' Available')[0]}; choose one of: {known}"
    if "Could not find 'board/" in text:
        return f"{lines[0].split(' Available')[0]}; docs/boards.md lists the boards"
    if "Could not find '" in text or "Could not override" in text or "not in struct" in text:
        return f"{text}; `python -m automcu.launch --cfg job` prints the known keys"
    return f"{text}; correct the command line or the configuration"


if __name__ == "__main__":
    sys.exit(main())
