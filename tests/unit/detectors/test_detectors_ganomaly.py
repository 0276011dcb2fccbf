"""GANomaly's losses by hand, its step against the published order of two optimisers, sizes and scores."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from picture_material import fitted, made, pictures

from dcase_asd.detectors._shared.ganomaly_model import Ganomaly, discriminator_loss, generator_losses
from dcase_asd.detectors._shared.picture_model import Preparation
from dcase_asd.errors import ConfigError, DataError, TrainingError
from dcase_asd.networks.ganomaly import Discriminator, Generator

SMALL = {"width": 4, "n_latent": 5, "epochs": 2, "batch_size": 4}


def test_losses_by_hand() -> None:
    x, rebuilt = torch.tensor([[1.0, -1.0, 0.0, 0.5]]), torch.tensor([[0.0, -1.0, 0.0, -0.5]])
    codes = torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 4.0]])
    absolute = generator_losses(x, rebuilt, codes, contextual="l1")
    assert {name: value.item() for name, value in absolute.items()} == {"contextual": 0.5, "latent": 10.0}
    assert generator_losses(x, rebuilt, codes, contextual="l2")["contextual"].item() == 0.5
    assert generator_losses(2 * x, rebuilt, codes, contextual="l2")["contextual"].item() == pytest.approx(7.25 / 4)
    # logits of 0: the discriminator does not know; log 3: it is right with probability 3/4
    assert discriminator_loss(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(math.log(2))
    sure = math.log(3)
    assert discriminator_loss(torch.tensor([sure]), torch.tensor([-sure])).item() == pytest.approx(math.log(4 / 3))
    assert discriminator_loss(torch.tensor([sure]), torch.tensor([sure])).item() == pytest.approx(0.5 * math.log(16 / 3))


def _model(adversarial: str) -> Ganomaly:
    torch.manual_seed(0)
    generator, discriminator = Generator(1, side=16, n_latent=5, width=4), Discriminator(1, side=16, width=4)
    return Ganomaly(Preparation(), generator, discriminator, adversarial=adversarial, contextual="l1")


@pytest.mark.parametrize("adversarial", ["feature", "bce"])
def test_a_step_is_that_of_two_optimisers_in_the_published_order(adversarial: str) -> None:
    """Both losses first, then the generator's step, then the discriminator's, as in samet-akcay/ganomaly:lib/model.py."""
    ours, theirs = _model(adversarial), _model(adversarial)
    batch = torch.from_numpy(pictures(6, shape=(1, 16, 16)))
    settings = {"lr": 2e-4, "betas": (0.5, 0.999)}
    one = torch.optim.Adam(ours.parameters(), **settings)
    g, d = (torch.optim.Adam(m.parameters(), **settings) for m in (theirs.generator, theirs.discriminator))
    weights = {"adversarial": 1.0, "contextual": 50.0, "latent": 1.0, "discriminator": 1.0}
    for _ in range(3):
        terms = ours({"x": batch})
        one.zero_grad()
        torch.stack([weights[name] * loss for name, loss in terms.items()]).sum().backward()
        one.step()

        x = 2 * batch - 1
        fake, code, second = theirs.generator(x)
        real_logit, real_features = theirs.discriminator(x)
        fake_logit, _ = theirs.discriminator(fake.detach())
        # the generator's pass sees the same discriminator, whose parameters keep its gradients out of the second step
        logit, features = copy.deepcopy(theirs.discriminator)(fake)
        told = (features, real_features.detach()) if adversarial == "feature" else None
        adv = F.mse_loss(*told) if told else F.binary_cross_entropy_with_logits(logit, torch.ones_like(logit))
        loss_g = adv + 50 * (fake - x).abs().mean() + (code - second).square().mean()
        loss_d = discriminator_loss(real_logit, fake_logit)
        for optimiser, loss in ((g, loss_g), (d, loss_d)):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    for name, value in theirs.named_parameters():
        torch.testing.assert_close(dict(ours.named_parameters())[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_the_generators_losses_leave_the_discriminator_alone_and_the_other_way_round() -> None:
    model = _model("bce")
    terms = model({"x": torch.from_numpy(pictures(4, shape=(1, 16, 16)))})
    of_generator = torch.autograd.grad(
        terms["adversarial"] + terms["contextual"] + terms["latent"],
        list(model.discriminator.parameters()),
        allow_unused=True,
        retain_graph=True,
    )
    assert all(gradient is None for gradient in of_generator)
    of_discriminator = torch.autograd.grad(terms["discriminator"], list(model.generator.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in of_discriminator)


@pytest.mark.parametrize("side", [16, 64, 128])
def test_networks_of_every_power_of_two(side: int) -> None:
    generator, discriminator = Generator(3, side=side, n_latent=7, width=2), Discriminator(3, side=side, width=2)
    rebuilt, code, second = generator(torch.zeros(2, 3, side, side))
    assert rebuilt.shape == (2, 3, side, side)
    assert code.shape == second.shape == (2, 7)
    logit, features = discriminator(rebuilt)
    assert logit.shape == (2,)
    assert features.shape[2:] == (4, 4)


@pytest.mark.parametrize("side", [8, 24, 0])
def test_other_sides_are_refused(side: int) -> None:
    with pytest.raises(ConfigError, match="power of two"):
        Generator(1, side=side)


def test_parts_are_the_three_scores_and_the_sum_is_their_sum() -> None:
    x = pictures(12, shape=(1, 20, 30))
    detector = fitted("ganomaly", x, scores=["sum", "latent", "reconstruction"], **SMALL)
    scores = detector.score(x[:3])
    parts = scores.parts
    np.testing.assert_array_equal(scores.score, parts["score=sum"])
    np.testing.assert_allclose(parts["score=latent"] + parts["score=reconstruction"], parts["score=sum"], rtol=1e-6)
    assert detector._model.prepare.size == (32, 32)  # type: ignore[attr-defined]
    assert scores.map.shape == (3, 32, 32)
    np.testing.assert_allclose(scores.map.mean(axis=(1, 2)), parts["score=reconstruction"], rtol=1e-5)
    assert fitted("ganomaly", x, **SMALL).score(x[:3]).parts == {}


def test_padding_keeps_the_scale_of_a_log_mel_and_is_cut_off_the_map() -> None:
    x = -80.0 + 60.0 * pictures(12, shape=(1, 16, 24))
    detector = fitted("ganomaly", x, fit_to_side="pad", **SMALL)
    prepare = detector._model.prepare  # type: ignore[attr-defined]
    assert prepare.low.item() == pytest.approx(x.min())
    padded = prepare(torch.from_numpy(x[:1]))
    assert padded.shape == (1, 1, 32, 32)
    np.testing.assert_allclose(padded[0, :, :16, :24].numpy(), (x[0] - x.min()) / (x.max() - x.min()), atol=1e-6)
    assert padded[:, :, 16:].abs().max() == padded[:, :, :, 24:].abs().max() == 0
    assert detector.score(x[:2]).map.shape == (2, 16, 24)


def test_pictures_are_taken_as_they_are() -> None:
    detector = fitted("ganomaly", 0.2 + 0.5 * pictures(8, shape=(1, 16, 16)), **SMALL)
    prepare = detector._model.prepare  # type: ignore[attr-defined]
    assert (prepare.low.item(), prepare.span.item()) == (0.0, 1.0)


def test_the_score_of_a_picture_is_no_share_of_a_batch() -> None:
    """The public code scales scores by the smallest and largest of the test set."""
    x = pictures(12, shape=(1, 16, 16))
    detector = fitted("ganomaly", x, **SMALL)
    np.testing.assert_allclose(detector.score(x[:1]).score, detector.score(x).score[:1], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"side": 48}, "power of two"),
        ({"batch_size": 1}, "batch_size >= 2"),
        ({"weights": [0, 0, 0]}, "not all 0"),
        ({"scores": ["sum", "sum"]}, "each score once"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        made("ganomaly", **values)


def test_one_picture_and_pictures_of_another_size() -> None:
    with pytest.raises(TrainingError, match="at least 2"):
        fitted("ganomaly", pictures(1, shape=(1, 16, 16)), **SMALL)
    detector = fitted("ganomaly", pictures(8, shape=(1, 16, 16)), **SMALL)
    with pytest.raises(DataError, match="fitted on"):
        detector.score(pictures(2, shape=(1, 16, 32)))
