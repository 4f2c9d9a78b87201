"""Zero-cost proxies: figures of an untrained network that are said to predict its accuracy (arXiv 2101.08134)."""

import torch
import torch.nn.functional as F

from automcu.graph.network import Network
from automcu.training.data import TrainingData
from automcu.training.model import TorchNetwork, normalise
from automcu.training.weights import parameter_count

_BATCH = 128


def proxies_of(network: Network, data: TrainingData, seed: int) -> dict[str, float]:
    """Higher is said to be better: `parameters`; `grad_norm`, the length of the gradient of the first batch; `snip`,
    the sum over weights of weight times gradient, as amounts; `synflow` (arXiv 2006.05467), the same of the sum of the
    outputs for an input of ones with all weights as amounts and no normalisation."""
    generator = torch.Generator().manual_seed(seed)
    model = TorchNetwork(network)
    model.initialise(generator)
    model.train()
    images = normalise(torch.from_numpy(data.images[:_BATCH]))
    F.cross_entropy(model(images), torch.from_numpy(data.labels[:_BATCH])).backward()
    kernels = [parameter for parameter in model.parameters() if parameter.ndim > 1 and parameter.grad is not None]
    found = {
        "parameters": float(parameter_count(network)),
        "grad_norm": torch.linalg.vector_norm(torch.stack([one.grad.norm() for one in kernels])).item(),
        "snip": sum((one.grad * one).abs().sum().item() for one in kernels),
    }
    model.eval()  # with fresh statistics, normalisation is the identity
    for parameter in model.parameters():
        parameter.grad = None
        if parameter.ndim > 1:
            parameter.data.abs_()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
    model(torch.ones_like(images[:1])).sum().backward()
    found["synflow"] = sum((one.grad * one).abs().sum().item() for one in kernels)
    return found
