"""The models: torchvision's names, shapes and counts; least image sizes; and that they learn."""

from __future__ import annotations

import numpy as np
import pytest

import gpunn
from gpunn import init, models, nn
from gpunn.errors import ConfigError
from gpunn.models.catalog import CATALOG


def shapes(net):
    return {name: value.shape for name, value in net.state_dict().items()}


def built(make, *arguments, **options):
    with init.skip():
        return make(*arguments, **options)


# --- torchvision's names and shapes -----------------------------------------------------------------------------------


def torchvision_vgg(configuration, batch_norm, classes=1000):
    """The names and shapes of torchvision's state_dict, in its order."""
    entries, index, channels = {}, 0, 3
    for item in configuration.split():
        if item == "M":
            index += 1
            continue
        width = int(item)
        entries[f"features.{index}.weight"] = (width, channels, 3, 3)
        entries[f"features.{index}.bias"] = (width,)
        if batch_norm:
            for name in ("weight", "bias", "running_mean", "running_var"):
                entries[f"features.{index + 1}.{name}"] = (width,)
            entries[f"features.{index + 1}.num_batches_tracked"] = ()
        index += 3 if batch_norm else 2
        channels = width
    for name, inputs, outputs in ((0, 25088, 4096), (3, 4096, 4096), (6, 4096, classes)):
        entries[f"classifier.{name}.weight"] = (outputs, inputs)
        entries[f"classifier.{name}.bias"] = (outputs,)
    return entries


VGG11 = "64 M 128 M 256 256 M 512 512 M 512 512 M"
VGG16 = "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M"

ALEXNET = {
    "features.0": (64, 3, 11, 11), "features.3": (192, 64, 5, 5), "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3), "features.10": (256, 256, 3, 3),
    "classifier.1": (4096, 9216), "classifier.4": (4096, 4096), "classifier.6": (1000, 4096),
}  # fmt: skip


def test_alexnet_has_torchvisions_names_shapes_and_count():
    net = built(models.alexnet)
    expected = {}
    for name, shape in ALEXNET.items():
        expected[f"{name}.weight"], expected[f"{name}.bias"] = shape, shape[:1]
    assert list(shapes(net).items()) == list(expected.items())
    assert nn.count_parameters(net) == 61_100_840


@pytest.mark.parametrize(
    ("make", "configuration", "batch_norm", "count"),
    [
        (models.vgg11, VGG11, False, 132_863_336),
        (models.vgg11_bn, VGG11, True, 132_868_840),
        (models.vgg16, VGG16, False, 138_357_544),
        (models.vgg16_bn, VGG16, True, 138_365_992),
    ],
)
def test_vggs_have_torchvisions_names_shapes_and_counts(make, configuration, batch_norm, count):
    net = built(make)
    assert list(shapes(net).items()) == list(torchvision_vgg(configuration, batch_norm).items())
    assert nn.count_parameters(net) == count


def test_a_state_with_torchvisions_names_loads_strictly_and_a_wrong_one_names_the_culprit():
    net = built(models.vgg11_bn, 10)
    state = {name: np.broadcast_to(np.float32(2), shape) for name, shape in torchvision_vgg(VGG11, True, 10).items()}
    net.load_state_dict(state)
    assert net.classifier[6].bias.numpy().tolist() == [2.0] * 10
    assert net.features[1].running_var.numpy()[0] == 2
    state["classifier.6.weight"] = np.broadcast_to(np.float32(0), (1000, 4096))
    message = r"wrong shape: classifier.6.weight \(expected \(10, 4096\), got \(1000, 4096\)\)$"
    with pytest.raises(nn.StateDictError, match=message):
        net.load_state_dict(state)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: models.lenet5(), 61_706),
        (lambda: models.lenet5(10, 3, 32), 62_006),
        (lambda: models.alexnet_cifar(), 23_272_266),
        (lambda: models.zfnet(), 62_357_608),
        (lambda: models.mlp(), 784 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10),
        (lambda: models.mlp(hidden=()), 7850),
        (
            lambda: models.small_cnn(),
            9 * 16 + 9 * 16 * 32 + 9 * 32 * 32 + 9 * 32 * 64 + 9 * 64 * 64 + 2 * (16 + 64 + 128) + 650,
        ),
        (lambda: models.vgg11_bn(10, image_size=32), 9_231_114),
        (lambda: models.vgg16_bn(10, image_size=32), 14_728_266),
        (lambda: models.autoencoder(), 2 * (784 * 256 + 256 * 64 + 64 * 16) + 256 + 64 + 16 + 64 + 256 + 784),
    ],
)
def test_counts_of_parameters(make, count):
    assert nn.count_parameters(built(make)) == count


# --- weights ----------------------------------------------------------------------------------------------------------


def test_vgg_starts_as_torchvisions_does():
    gpunn.manual_seed(0)
    net = models.vgg11_bn(10, image_size=32)
    weight = net.features[4].weight.numpy()
    assert weight.std() == pytest.approx(np.sqrt(2 / (128 * 9)), rel=0.02)
    assert not net.features[4].bias.numpy().any()
    assert (net.features[5].weight.numpy() == 1).all()
    assert (net.features[5].running_var.numpy() == 1).all()
    assert net.classifier.weight.numpy().std() == pytest.approx(0.01, rel=0.05)
    assert gpunn.random.default_generator.stream == 9


def test_the_same_seed_gives_the_same_network():
    states = []
    for seed in (1, 1, 2):
        gpunn.manual_seed(seed)
        states.append(models.small_cnn().state_dict()["4.weight"].numpy())
    np.testing.assert_array_equal(states[0], states[1])
    assert (states[0] != states[2]).any()


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", models.names())
def test_each_model_takes_its_least_image_and_none_below(name):
    least = CATALOG[name].least_size
    net = built(models.build, name, 7, 2, least).eval()
    out = net(gpunn.zeros(2, 2, least, least))
    assert out.shape == ((2, 7) if name in models.names(classifiers_only=True) else (2, 2, least, least))
    with pytest.raises(ConfigError, match=rf"^{name}: .*at least|^{name}: .*the least is {least}x{least}"):
        models.build(name, 7, 2, least - 1)
    if least > 1:
        with pytest.raises(ValueError):
            built(CATALOG[name].make, 7, 2, least - 1).eval()(gpunn.zeros(1, 2, least - 1, least - 1))


@pytest.mark.parametrize("name", ["mlp", "lenet5", "small_cnn", "alexnet_cifar", "autoencoder"])
@pytest.mark.parametrize("size", [28, 31, 32, 33, 47, 64])
def test_models_of_small_images_take_any_size(name, size):
    net = built(models.build, name, 5, 3, size).eval()
    assert net(gpunn.zeros(1, 3, size, size)).shape == ((1, 5) if name != "autoencoder" else (1, 3, size, size))


@pytest.mark.parametrize("size", [32, 50, 64, 100])
def test_the_small_head_of_vgg(size):
    net = built(models.vgg11, 5, image_size=size).eval()
    assert isinstance(net.classifier, nn.Linear)
    assert net(gpunn.zeros(1, 3, size, size)).shape == (1, 5)


def test_zfnet_has_the_maps_of_the_paper():
    net = built(models.zfnet).eval()
    x, sides = gpunn.zeros(1, 3, 224, 224), []
    for layer in net.features:
        x = layer(x)
        if not isinstance(layer, nn.ReLU):
            sides.append(x.shape[-1])
    assert sides == [110, 55, 26, 13, 13, 13, 13, 6]


# --- by name ----------------------------------------------------------------------------------------------------------


def test_names():
    assert set(models.names()) == {
        "mlp", "lenet5", "small_cnn", "alexnet", "alexnet_cifar", "zfnet", "vgg11", "vgg11_bn", "vgg16", "vgg16_bn",
        "autoencoder",
    }  # fmt: skip
    assert set(models.names()) - set(models.names(classifiers_only=True)) == {"autoencoder"}


@pytest.mark.parametrize(
    ("given", "nearest"), [("vgg11bn", "vgg11_bn"), ("lenet", "lenet5"), ("VGG16", "vgg16"), ("smallcnn", "small_cnn")]
)
def test_an_unknown_name_is_one_line_with_the_nearest(given, nearest):
    with pytest.raises(ConfigError) as caught:
        models.build(given)
    assert f'unknown model "{given}"; did you mean "{nearest}"?' in str(caught.value)
    assert "autoencoder" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_like_no_other_gets_the_list_alone():
    with pytest.raises(ConfigError, match=r'^unknown model "qqqqqq" \(there are mlp, '):
        models.build("qqqqqq")


@pytest.mark.parametrize("option", ["num_classes", "in_channels", "image_size"])
def test_numbers_below_one(option):
    with pytest.raises(ConfigError, match=f"mlp: expected {option} of at least 1, got 0"):
        models.build("mlp", **{option: 0})


def test_a_model_for_larger_images_says_the_least_size_and_what_fits():
    with pytest.raises(ConfigError) as caught:
        models.build("vgg11", 10, 1, 28)
    assert str(caught.value) == (
        "vgg11: images of 28x28 pixels are too small, the least is 32x32; "
        "resize them, or take mlp, lenet5, small_cnn, alexnet_cifar"
    )


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "lenet5", "small_cnn"])
def test_small_models_learn_by_heart(name):
    gpunn.manual_seed(1)
    rng = np.random.default_rng(0)
    images, labels = gpunn.tensor(rng.normal(size=(16, 1, 14, 14)).astype("float32")), rng.integers(0, 3, 16)
    net, loss = models.build(name, 3, 1, 14), nn.CrossEntropyLoss()
    for _ in range(120 if name == "lenet5" else 40):
        net.zero_grad()
        value = loss(net(images), labels)
        value.backward()
        for parameter in net.parameters():
            parameter.data -= np.float32(0.1) * parameter.grad.data
    assert value.item() < 0.1


def test_the_autoencoder_gives_images_back():
    gpunn.manual_seed(1)
    images = gpunn.tensor(np.random.default_rng(0).random((8, 1, 6, 6)).astype("float32"))
    net, loss = models.autoencoder(image_size=6, hidden=(32,), code_size=8), nn.MSELoss()
    assert net.encoder(images).shape == (8, 8)
    start = loss(net(images), images).item()
    for _ in range(150):
        net.zero_grad()
        value = loss(net(images), images)
        value.backward()
        for parameter in net.parameters():
            parameter.data -= np.float32(3.0) * parameter.grad.data
    assert value.item() < 0.6 * start
    assert 0 <= net(images).numpy().min() <= net(images).numpy().max() <= 1


def test_alexnets_step_equals_pytorchs():
    torch = pytest.importorskip("torch")
    ours = built(models.alexnet_cifar, 5, 1, 15, dropout=0.0)
    layers = []
    for layer in [*ours.features, nn.Flatten(), *ours.classifier]:
        options = {}
        if isinstance(layer, nn.Conv2d):
            options = {"stride": layer.stride, "padding": layer.padding}
            layers.append(torch.nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, **options))
        elif isinstance(layer, nn.Linear):
            layers.append(torch.nn.Linear(layer.in_features, layer.out_features))
        elif isinstance(layer, nn.MaxPool2d):
            layers.append(torch.nn.MaxPool2d(layer.kernel_size))
        else:
            layers.append(getattr(torch.nn, type(layer).__name__)())
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(*layers).eval()
    ours.eval()
    for parameter, value in zip(ours.parameters(), theirs.parameters(), strict=True):
        parameter.data[...] = value.detach().numpy()
    data = np.random.default_rng(0).normal(size=(3, 1, 15, 15)).astype("float32")
    labels = np.array([0, 3, 4])
    nn.CrossEntropyLoss()(ours(gpunn.tensor(data)), labels).backward()
    torch.nn.CrossEntropyLoss()(theirs(torch.tensor(data)), torch.tensor(labels)).backward()
    for (name, parameter), value in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        expected = value.grad.numpy()
        np.testing.assert_allclose(
            parameter.grad.numpy(), expected, rtol=1e-3, atol=2e-5 * np.abs(expected).max(), err_msg=name
        )
