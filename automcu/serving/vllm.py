"""A large model on the GPU nodes of a Ray cluster, with vLLM, by Ray Serve LLM.

What it takes is checked before the search begins. Unlike `automcu.serving.app`, Serve LLM's endpoint asks for no key:
it answers on loopback alone, but to every user of that machine, while the run lasts.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from automcu.errors import ConfigError
from automcu.llm.endpoint import Endpoint

_NO_KEY = "none"


@dataclass(frozen=True, slots=True)
class VLLMModel:
    """What is served: `model`, a Hugging Face name or a folder that every GPU node has, spread over `gpus` GPUs, with
    room for `context_tokens` of prompt and reply."""

    model: str
    gpus: int
    context_tokens: int

    @property
    def name(self) -> str:
        """What clients call the model."""
        return self.model

    def require(self) -> None:
        """Raises `ConfigError` when vLLM is not installed."""
        if importlib.util.find_spec("vllm") is None:
            raise ConfigError(
                "llm=vllm needs vLLM, which is not installed; install ray[llm] here and on the GPU nodes, or use "
                "another llm"
            )

    def require_gpus(self, resources: Mapping[str, float]) -> None:
        """Raises `ConfigError` when `resources`, those of the cluster, hold too few GPUs."""
        there = resources.get("GPU", 0)
        if there < self.gpus:
            raise ConfigError(
                f"llm=vllm needs {self.gpus} GPU(s) and the Ray cluster has {there:g}; add a node that has them and "
                "use cluster=join, or use another llm"
            )

    def serving_args(self, ingress_actor: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `ray.serve.llm.build_openai_app`; the ingress runs with the options `ingress_actor`."""
        engine = {
            "tensor_parallel_size": self.gpus,
            "max_model_len": self.context_tokens,
            "enable_prefix_caching": True,  # the roles' prompts begin alike from round to round
        }
        model = {
            "model_loading_config": {"model_id": self.model, "model_source": self.model},
            "engine_kwargs": engine,
            "deployment_config": {"num_replicas": 1},
        }
        ingress = {"num_replicas": 1, "ray_actor_options": dict(ingress_actor)}
        return {"llm_configs": [model], "ingress_deployment_config": ingress}


@contextmanager
def serve_vllm(model: VLLMModel) -> Iterator[Endpoint]:
    """Serve `model` on the Ray cluster that this process is connected to while the context lasts.

    Raises `ConfigError` when something is missing, `InfraFailure` when the model does not start.
    """
    import ray

    from automcu.serving.on_ray import here, serve_application

    model.require()
    model.require_gpus(ray.cluster_resources())
    from ray.serve.llm import build_openai_app  # wants vLLM

    with serve_application(build_openai_app(model.serving_args(here()))) as address:
        yield Endpoint(model.name, f"{address}/v1", _NO_KEY)
