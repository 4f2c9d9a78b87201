"""The depthwise convolution against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from automcu.graph.network import DepthwiseConv, GlobalAveragePool, Network
from automcu.training.depthwise import depthwise
from automcu.training.model import TorchNetwork


@given(
    kernel=st.sampled_from([3, 5, 7]),
    stride=st.sampled_from([1, 2]),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    channels=st.integers(1, 9),
    images=st.integers(1, 3),
    seed=st.integers(0, 100),
)
@settings(max_examples=150, deadline=None)
def test_output_and_both_gradients_are_those_of_torch(kernel, stride, height, width, channels, images, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(images, channels, height, width, generator=generator, dtype=torch.float64)
    weights = torch.randn(channels, 1, kernel, kernel, generator=generator, dtype=torch.float64)
    maps = maps.to(memory_format=torch.channels_last).requires_grad_()
    weights.requires_grad_()
    padding = (kernel // 2, kernel // 2)
    expected = F.conv2d(maps, weights, None, stride, padding, groups=channels)
    found = depthwise(maps, weights, stride, padding)
    assert torch.equal(found, expected)
    upstream = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(found, (maps, weights), upstream)
    for ours, torchs in zip(gradients, torch.autograd.grad(expected, (maps, weights), upstream), strict=True):
        torch.testing.assert_close(ours, torchs)


def test_maps_that_need_no_gradient_cost_none():
    maps, weights = torch.randn(2, 3, 8, 8), torch.randn(3, 1, 5, 5, requires_grad=True)
    depthwise(maps, weights, 1, (2, 2)).sum().backward()
    assert maps.grad is None
    assert weights.grad is not None


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_a_block_trains_as_with_torchs_own_convolution(kernel):
    network = Network((9, 6, 4), (DepthwiseConv("d", "input", kernel, 1, "relu"), GlobalAveragePool("pool", "d")))
    model = TorchNetwork(network)
    model.initialise(torch.Generator().manual_seed(0))
    images = torch.randn(3, 4, 9, 6)
    model(images).square().sum().backward()
    conv = model.blocks[0].conv
    found, conv.weight.grad = conv.weight.grad, None
    model.walk(
        images,
        lambda layer, block, maps: F.relu(block.norm(conv(*maps))) if layer.name == "d" else block(*maps),
    ).square().sum().backward()
    torch.testing.assert_close(found, conv.weight.grad)
