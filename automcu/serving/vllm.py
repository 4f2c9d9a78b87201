"""A large model on the GPU nodes of a Ray cluster, with vLLM, by Ray Serve LLM.

What it takes is checked before anything starts. Unlike `automcu.serving.app`, Serve LLM's endpoint asks for no key:
it answers on loopback alone, but to every user of that machine, while the run lasts.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from automcu.errors import ConfigError
from automcu.serving.local import Endpoint
from automcu.serving.on_ray import QUIET, here, serve_application


@dataclass(frozen=True, slots=True)
class VLLMModel:
    """What is served: `model`, a Hugging Face name or a folder that every GPU node has, spread over `gpus` GPUs (of
    type `accelerator` as Ray names it, None for any), with room for `context_tokens` of prompt and reply."""

    model: str
    gpus: int = 1
    accelerator: str | None = None
    context_tokens: int = 16_384

    def require(self) -> None:
        """Raises `ConfigError` when vLLM or the GPUs are missing from the cluster that this process is connected to."""
        if importlib.util.find_spec("vllm") is None:
            raise ConfigError(
                "llm=vllm needs vLLM, which is not installed; install ray[llm] here and on the GPU nodes, or use "
                "another llm"
            )
        there = ray.cluster_resources().get("GPU", 0)
        if there < self.gpus:
            raise ConfigError(
                f"llm=vllm needs {self.gpus} GPUs and the Ray cluster has {there:g}; add a node with GPUs, or use "
                "another llm"
            )

    def serving_args(self) -> dict[str, Any]:
        """The arguments of `ray.serve.llm.build_openai_app`."""
        return {
            "llm_configs": [
                {
                    "model_loading_config": {"model_id": self.model, "model_source": self.model},
                    "accelerator_type": self.accelerator,
                    "engine_kwargs": {
                        "tensor_parallel_size": self.gpus,
                        "max_model_len": self.context_tokens,
                        "enable_prefix_caching": True,
                    },
                    "deployment_config": {"num_replicas": 1, "logging_config": QUIET},
                }
            ],
            "ingress_deployment_config": {
                "num_replicas": 1,
                "ray_actor_options": here(),
                "logging_config": QUIET,
            },
        }


@contextmanager
def serve_vllm(model: VLLMModel) -> Iterator[Endpoint]:
    """Serve `model` on the Ray cluster that this process is connected to while the context lasts.

    Raises `ConfigError` when something is missing, `InfraFailure` when the model does not start.
    """
    model.require()
    from ray.serve.llm import build_openai_app  # wants vLLM

    with serve_application(build_openai_app(model.serving_args())) as address:
        yield Endpoint(model.model, f"{address}/v1", "none")
