from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from dcase_asd.submission.complexity import Complexity, count_parameters, count_state, measure, total


def test_linear() -> None:
    # 7 x 5 weights and 5 biases; per row 7 x 5 multiplications, 3 rows
    assert measure(nn.Linear(7, 5), torch.zeros(3, 7)) == Complexity(40, 105)


def test_convolution() -> None:
    # output 8 channels of 6 x 4 (stride 2 on 12 x 8, padding 1), each from 3 x 3 x 3 inputs
    assert measure(nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.zeros(1, 3, 12, 8)) == Complexity(8 * 27 + 8, 8 * 6 * 4 * 27)


def test_grouped_convolution_in_one_dimension() -> None:
    # depthwise: each of 6 x 10 outputs from 5 inputs of its own channel
    assert measure(nn.Conv1d(6, 6, 5, padding=2, groups=6, bias=False), torch.zeros(1, 6, 10)).macs == 6 * 10 * 5


def test_transposed_convolution_is_its_adjoint() -> None:
    forward = measure(nn.Conv2d(2, 3, 2, stride=2, bias=False), torch.zeros(1, 2, 8, 6))
    backward = measure(nn.ConvTranspose2d(3, 2, 2, stride=2, bias=False), torch.zeros(1, 3, 4, 3))
    assert forward == backward == Complexity(24, 3 * 4 * 3 * 2 * 4)


def test_resnet18_by_hand() -> None:
    stem = 112 * 112 * 64 * 3 * 49
    first = 4 * 56 * 56 * 64 * 64 * 9
    # each later stage: a halving 3x3, three 3x3, a 1x1 shortcut; half the side, twice the channels: the same work each
    later = 28 * 28 * 128 * (64 * 9 + 3 * 128 * 9 + 64)
    model = resnet18(weights=None)
    found = measure(model, torch.zeros(1, 3, 224, 224))
    assert found == Complexity(11_689_512, stem + first + 3 * later + 512 * 1000)
    assert found.macs == 1_814_073_344
    assert count_parameters(model) == 11_689_512


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Dropout())
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    measure(model, torch.ones(2, 1, 9))
    assert [m.training for m in model] == [True, False, True]
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_hooks_are_removed_when_the_model_fails() -> None:
    model = nn.Linear(3, 2)
    with pytest.raises(RuntimeError):
        measure(model, torch.ones(2, 4))
    assert not model._forward_hooks


def test_a_layer_used_twice_works_twice_and_weighs_once() -> None:
    layer = nn.Linear(4, 4, bias=False)
    assert measure(nn.Sequential(layer, layer), torch.zeros(1, 4)) == Complexity(16, 32)


def test_what_has_no_rule_is_named() -> None:
    found = measure(nn.Sequential(nn.Linear(4, 4), nn.GRU(4, 4)), torch.zeros(2, 4))
    assert found.uncounted == ("1 (GRU)",)
    attention = measure(nn.MultiheadAttention(4, 2), *[torch.zeros(2, 1, 4)] * 3)
    assert attention.uncounted == ("model (MultiheadAttention)", "out_proj (NonDynamicallyQuantizableLinear)")


def test_state_of_a_mixture() -> None:
    state = {
        "means": np.zeros((4, 16)),
        "covariances": torch.zeros(4, 16, 16),
        "weights": np.zeros(4),
        "threshold": np.float64(3),
    }
    assert count_state(state) == 4 * 16 + 4 * 256 + 4 + 1


def test_total() -> None:
    parts = [Complexity(3, 5, ("a (GRU)",)), Complexity(10, 20), Complexity(1, 1, ("a (GRU)",))]
    assert total(parts) == Complexity(14, 26, ("a (GRU)",))
    assert total([]) == Complexity(0, 0)
