import pytest
import torch

from automcu.training.optimizer import AdamW, Average, NesterovSGD, share_of_peak


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (NesterovSGD, lambda groups: torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True)),
        (AdamW, lambda groups: torch.optim.AdamW(groups, lr=1.0)),
    ],
)
def test_updates_are_torchs(ours, theirs):
    start = [torch.linspace(-1, 1, 6).reshape(2, 3), torch.ones(3), torch.zeros(2)]
    mine = [torch.nn.Parameter(tensor.clone()) for tensor in start]
    reference = [torch.nn.Parameter(tensor.clone()) for tensor in start]
    optimizer = ours(mine, 0.01)
    judge = theirs([{"params": reference[:1], "weight_decay": 0.01}, {"params": reference[1:], "weight_decay": 0.0}])
    for step in range(5):
        for parameters in (mine, reference):
            # The last one takes no part: it has no gradient, and stays.
            sum((parameter**2).sum() + parameter.sum() for parameter in parameters[:2]).backward()
        rate = 0.1 / (1 + step)
        for group in judge.param_groups:
            group["lr"] = rate
        torch.nn.utils.clip_grad_norm_(reference, 5.0)
        judge.step()
        judge.zero_grad()
        optimizer.step(rate, step + 1)
    for one, other in zip(mine, reference, strict=True):
        assert one.grad is None
        torch.testing.assert_close(one.data, other.data)


@pytest.mark.parametrize("scale", [0.1, 1000.0])
def test_long_gradients_are_shortened(scale):
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.full((2, 2), scale)
    NesterovSGD([parameter], 0.0).step(1.0, 1)
    expected = min(2 * scale, 5.0) * 1.9  # the first step of Nesterov's momentum goes 1 + 0.9 times the gradient
    assert parameter.data.norm().item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("schedule", ["triangle", "cosine"])
def test_learning_rate_peaks_once_and_ends_near_zero(schedule):
    rates = [share_of_peak(schedule, step / 100) for step in range(100)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(1)
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[0] == pytest.approx(0.1) and 0 <= rates[-1] < 0.02


def test_average_forgets_the_start_and_follows_statistics():
    model, kept = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    average = Average(model, kept, 0.9)
    model.weight.data.fill_(3.0)
    model.running_mean.fill_(-1.0)
    weights = [1.0]
    for step in range(1, 200):
        decay = min(0.9, (1 + step) / (10 + step))
        weights.append(decay * weights[-1] + (1 - decay) * 3.0)
        average.update(step)
        assert kept.weight.data[0].item() == pytest.approx(weights[-1], rel=1e-5)
    assert kept.weight.data.tolist() == pytest.approx([3.0, 3.0])
    assert kept.running_mean.tolist() == pytest.approx([-1.0, -1.0])
