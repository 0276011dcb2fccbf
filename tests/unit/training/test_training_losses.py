"""Hand-computed cases of Fujimura 2023, Eq. 1, 2, 3 and 8; every number is written out with math.log, not with torch."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcase_asd.training.losses import attribute_loss, machine_loss, section_loss, serial_oe_loss


def sigma(x):
    return 1.0 / (1.0 + math.exp(-x))


def bce(x, y):
    return -(y * math.log(sigma(x)) + (1 - y) * math.log(1 - sigma(x)))


def test_machine_loss_eq_2():
    expected = (bce(2.0, 1.0) + bce(-1.0, 0.0) + bce(0.5, 0.25)) / 3
    assert machine_loss(torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.25])).item() == pytest.approx(
        expected, rel=1e-6
    )


def test_section_loss_eq_3():
    logits = torch.tensor([[1.0, -2.0, 0.0], [0.5, 0.5, 3.0], [9.0, 9.0, 9.0]])
    y = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.7, 0.3], [0.0, 0.0, 0.0]])
    t = torch.tensor([1.0, 0.5, 0.0])
    first = bce(1.0, 1) + bce(-2.0, 0) + bce(0.0, 0)
    second = bce(0.5, 0) + bce(0.5, 0.7) + bce(3.0, 0.3)
    expected = (1.0 * first + 0.5 * second) / (3 * 1.5)
    assert section_loss(logits, y, t).item() == pytest.approx(expected, rel=1e-6)


def test_section_loss_does_not_see_pseudo_anomalies():
    logits = torch.randn(4, 3, requires_grad=True)
    section_loss(logits, torch.zeros(4, 3), torch.tensor([1.0, 1.0, 0.0, 0.0])).backward()
    assert (logits.grad[2:] == 0).all()
    assert (logits.grad[:2] != 0).all()


def test_section_loss_without_targets_is_zero():
    assert section_loss(torch.randn(2, 3), torch.zeros(2, 3), torch.zeros(2)).item() == 0.0


def test_attribute_loss_eq_8():
    logits = torch.tensor([[1.0, -2.0], [0.3, 4.0]])
    y = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    expected = (bce(1.0, 0) + bce(-2.0, 1) + bce(0.3, 0) + bce(4.0, 0)) / (2 * 2)
    assert attribute_loss(logits, y).item() == pytest.approx(expected, rel=1e-6)


def test_sum_eq_1():
    assert serial_oe_loss(torch.tensor(0.25), torch.tensor(0.5), section_weight=5.0).item() == 2.75


@given(st.floats(-80, 80), st.floats(0, 1))
def test_machine_loss_is_finite_and_not_negative(logit, t):
    value = machine_loss(torch.tensor([logit]), torch.tensor([t])).item()
    assert math.isfinite(value)
    assert value >= 0


def test_losses_of_half_precision_logits_are_computed_in_float32():
    assert machine_loss(torch.tensor([2.0], dtype=torch.bfloat16), torch.tensor([1.0])).dtype == torch.float32
    assert attribute_loss(torch.zeros(1, 2, dtype=torch.bfloat16), torch.zeros(1, 2)).dtype == torch.float32
