"""Frozen image networks: layers, weights, pictures and log-mels."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from dcase_asd.errors import ConfigError, DataError, FormatError, UnknownNameError
from dcase_asd.extractors.backbone import Backbone, Config
from dcase_asd.io import pretrained
from dcase_asd.networks.backbones import DEFAULT_LAYERS, build_backbone, normalise_imagenet, patch_features

LITE = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite_pytorch") is None, reason="the extra `image` is not installed"
)
NETWORKS = ["resnet18", "wide_resnet50_2", "vgg16", "efficientnet_b0", pytest.param("efficientnet_lite0", marks=LITE)]


def _pictures(n=2, size=64, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, 1, size, size, channels), dtype=np.uint8)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_gives_its_default_layers(network):
    made = build_backbone(network, DEFAULT_LAYERS[network], weights=None)
    with torch.inference_mode():
        found = made(torch.zeros(1, 3, 64, 64))
    channels = {name: value.shape[1] for name, value in found.items()}
    side = [value.shape[2] for value in found.values()]
    assert (
        channels
        == {
            "resnet18": {"layer1": 64, "layer2": 128, "layer3": 256},
            "wide_resnet50_2": {"layer2": 512, "layer3": 1024},
            "vgg16": {"pool3": 256, "pool4": 512},
            "efficientnet_b0": {"stage3": 40, "stage5": 112},
            "efficientnet_lite0": {"stage3": 40, "stage5": 112},
        }[network]
    )
    assert side == {"resnet18": [16, 8, 4]}.get(network, [8, 4])
    assert not made.training
    assert not any(p.requires_grad for p in made.parameters())


@pytest.mark.parametrize("network", ["resnet18", pytest.param("efficientnet_lite0", marks=LITE)])
def test_stages_make_up_the_whole_network(network, monkeypatch):
    """The last stage's mean, through the classifier, equals the publisher's own forward pass."""
    from dcase_asd.networks import backbones

    kept = []
    whole_of = backbones._whole

    def keep(name):
        kept.append(whole_of(name).eval())
        return kept[-1]

    monkeypatch.setattr(backbones, "_whole", keep)
    last = "layer4" if network == "resnet18" else "head"
    made = build_backbone(network, [last], weights=None)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32))
    with torch.inference_mode():
        pooled = made(x)[last].mean(dim=(2, 3))
        classifier = kept[0].fc if network == "resnet18" else kept[0]._fc
        torch.testing.assert_close(classifier(pooled), kept[0](x), rtol=1e-4, atol=1e-4)


def test_patch_features_average_and_join():
    first, second = torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 2, 2)
    first[0, 0, 0, 0] = 8.0
    second[0, 1] = 3.0
    patches = patch_features([first, second], neighbourhood=3)
    assert patches.shape == (1, 3, 4, 4)
    # windows of nine, with zeros beyond the border
    assert patches[0, 0, 0, 0] == pytest.approx(8.0 / 9.0)
    assert patches[0, 0, 1, 1] == pytest.approx(8.0 / 9.0)
    assert patches[0, 0, 2, 2] == 0.0
    np.testing.assert_allclose(patches[0, 2].unique(), [3.0 * 4 / 9], rtol=1e-6)
    np.testing.assert_array_equal(patch_features([first], neighbourhood=1), first)


def test_grey_is_rgb_with_equal_channels():
    grey = torch.from_numpy(_pictures(channels=1)[:, 0].transpose(0, 3, 1, 2).copy())
    np.testing.assert_array_equal(normalise_imagenet(grey), normalise_imagenet(grey.repeat(1, 3, 1, 1)))
    white = normalise_imagenet(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)).flatten()
    np.testing.assert_allclose(white, [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], rtol=1e-6)


def _random(**values):
    return Backbone(Config(network="resnet18", weights="random", layers=("layer1", "layer2"), **values))


def test_pictures_and_log_mels_give_maps_and_vectors():
    vector, patches = _random().embed(_pictures(3))
    assert vector.shape == (3, 192)
    assert patches.shape == (3, 192, 16, 16)
    np.testing.assert_allclose(
        vector[:, :64], _random(neighbourhood=1).embed(_pictures(3))[1][:, :64].mean(axis=(2, 3)), rtol=1e-5
    )
    log_mel = np.random.default_rng(1).normal(size=(2, 40, 64)).astype(np.float32)
    vector, patches = _random().embed(log_mel)
    assert patches.shape == (2, 192, 16, 10), "mel bands are the height, frames the width"
    louder = _random().embed(log_mel * 2 + 5)[0]
    np.testing.assert_allclose(louder, vector, rtol=1e-3, atol=1e-4)
    assert np.abs(_random(log_mel_scale=(0.0, 1.0)).embed(log_mel + 5)[0] - vector).max() > 0.01
    assert _random(input_size=(32, 48)).embed(log_mel)[1].shape == (2, 192, 8, 12)
    assert _random(return_map=False).embed(log_mel)[1] is None


def test_what_is_neither_is_refused():
    for wrong in (np.zeros((2, 1, 8, 8, 4), np.uint8), np.zeros((2, 1, 8, 8, 3), np.float32), np.zeros((2, 5), np.float32)):
        with pytest.raises(FormatError, match="expected pictures"):
            _random().embed(wrong)
    with pytest.raises(FormatError, match="not finite"):
        _random().embed(np.full((1, 40, 40), np.nan, np.float32))
    with pytest.raises(FormatError, match="at least one"):
        _random().embed(_pictures(0))
    with pytest.raises(UnknownNameError, match="layer"):
        Backbone(Config(network="resnet18", weights="random", layers=("layer9",))).embed(_pictures())
    with pytest.raises(FormatError, match="too small"):
        Backbone(Config(network="vgg16", weights="random", layers=("pool5",))).embed(_pictures(size=16))
    with pytest.raises(ConfigError, match="odd"):
        Config(neighbourhood=2)
    with pytest.raises(ConfigError, match="input_size"):
        _random().module_and_input(1)
    network, x = _random(input_size=(32, 32)).module_and_input(1)
    assert network(x)["layer2"].shape == (1, 128, 4, 4)


@pytest.fixture
def weights_file(tmp_path):
    from torchvision.models import resnet18

    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = resnet18()
    path = tmp_path / "gewichte é.pth"
    torch.save(model.state_dict(), path)
    return path


def test_weights_come_from_a_path_and_are_verified_on_loading(weights_file):
    config = Config(network="resnet18", weights=str(weights_file), layers=("layer1",))
    made = Backbone(config)
    state = made.state()
    record = json.loads(state["record"].tobytes())
    import hashlib

    assert record["weights_sha256"] == hashlib.sha256(weights_file.read_bytes()).hexdigest()
    again = Backbone(config)
    again.load_state(state)
    assert again.embed(_pictures())[0].tobytes() == made.embed(_pictures())[0].tobytes()
    changed = torch.load(weights_file, weights_only=True)
    changed["conv1.weight"] += 1.0
    torch.save(changed, weights_file)
    with pytest.raises(DataError, match="changed: SHA-256"):
        Backbone(config).load_state(state)


def test_missing_and_wrong_weights_say_what_to_do(weights_file, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"none\.pth: no such checkpoint"):
        Backbone(Config(network="resnet18", weights=str(tmp_path / "none.pth"))).state()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(DataError, match=r"resnet18-.*pth: no checkpoint.*download\.pytorch\.org.*download: true"):
        Backbone(Config(network="resnet18")).state()
    with pytest.raises(FormatError, match="not the weights of vgg16"):
        Backbone(Config(network="vgg16", weights=str(weights_file))).state()
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(FormatError, match="not a torch file of tensors"):
        Backbone(Config(network="resnet18", weights=str(tmp_path / "text.pth"))).state()
    with pytest.raises(FormatError, match="record"):
        Backbone(Config(network="resnet18", weights="random")).load_state({})


def test_a_download_happens_only_when_asked(tmp_path, monkeypatch):
    asked = []

    def fetch(url, target, *, hash_prefix, progress):
        asked.append((url, hash_prefix))
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(DataError):
        pretrained.find_weights("resnet18", "", download=False)
    assert not asked
    with pytest.raises(ConfigError, match="no network"):
        pretrained.find_weights("resnet18", "", download=True)
    assert asked[0][0].endswith(f"resnet18-{asked[0][1]}.pth")


@LITE
def test_the_packaged_weights_are_those_that_were_published():
    found = pretrained.find_weights("efficientnet_lite0", "", download=False)
    # torch.hub's convention: the name ends with the beginning of the file's SHA-256
    assert found.sha256.startswith(found.path.stem.rsplit("-", 1)[1])
    vector, patches = Backbone(Config()).embed(_pictures(1, size=64))
    assert vector.shape == (1, 152)
    assert patches.shape == (1, 152, 8, 8)
