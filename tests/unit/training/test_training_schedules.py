"""The late drop of EfficientAD's rate, and Adam's first decay."""

import pytest
import torch

from dcase_asd.errors import ConfigError
from dcase_asd.training.optimisers import make_optimiser, parameter_groups, rate_factor


@pytest.mark.parametrize("n_steps", [20, 70000])
def test_late_drop_is_step_lr_at_95_per_cent(n_steps: int) -> None:
    """As in nelson1425/EfficientAD: StepLR(step_size=int(0.95 * steps), gamma=0.1), which ends before its second drop."""
    at = int(0.95 * n_steps)
    for step in (0, at - 1, at, n_steps - 1):
        factor, momentum = rate_factor("late_drop", step, n_steps)
        assert factor == pytest.approx(0.1 ** (step // at))
        assert momentum is None
    with pytest.raises(ConfigError, match="late_drop"):
        rate_factor("early_drop", 0, 1)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_first_decay_of_adam(kind: str) -> None:
    def betas(**options: float) -> tuple[float, float]:
        groups = parameter_groups(torch.nn.Linear(1, 1), {})
        return make_optimiser(kind, groups, learning_rate=1.0, weight_decay=0.0, **options).param_groups[0]["betas"]

    assert betas() == (0.9, 0.999)
    assert betas(beta1=0.5) == (0.5, 0.999)
