"""Layers for images: what they compute, how they begin, print and are saved, and what they say of unfit inputs."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.errors import DataError, ShapeError
from chainrule.nn import init

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3, 8, 6)).astype(np.float32)


def lenet(**options) -> nn.Sequential:
    """LeNet-5 for images of 1 x 16 x 16."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, padding=2, **options), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, **options), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(72, 24, **options), nn.ReLU(), nn.Linear(24, 4, **options),
    )  # fmt: skip


def test_the_layers_are_the_functions_of_the_same_names():
    conv = nn.Conv2d(3, 6, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2), groups=3, bias_init=init.ones)
    expected = cr.conv2d(X, conv.weight.numpy(), conv.bias.numpy(), 2, (1, 0), (1, 2), 3)
    np.testing.assert_array_equal(conv(X).numpy(), expected)
    np.testing.assert_array_equal(nn.MaxPool2d(3, 2, 1, 1)(X), cr.max_pool2d(X, 3, 2, 1, 1))
    np.testing.assert_array_equal(nn.AvgPool2d((3, 2), padding=1)(X), cr.avg_pool2d(X, (3, 2), None, 1))
    np.testing.assert_array_equal(nn.GlobalAvgPool2d()(X), X.mean(axis=(2, 3)))
    np.testing.assert_array_equal(nn.GlobalMaxPool2d()(X), X.max(axis=(2, 3)))


def test_layers_take_lists():
    conv, x = nn.Conv2d(3, 2, 3, dtype=float), X.astype(float)
    np.testing.assert_array_equal(conv(x.tolist()).numpy(), conv(x).numpy())
    for layer in (nn.MaxPool2d(2), nn.AvgPool2d(2), nn.GlobalAvgPool2d(), nn.GlobalMaxPool2d()):
        np.testing.assert_array_equal(layer(x.tolist()), layer(x))


def test_without_a_bias_there_is_none():
    layer = nn.Conv2d(3, 2, 3, bias=False)
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    np.testing.assert_array_equal(layer(X).numpy(), cr.conv2d(X, layer.weight.numpy()))


def test_unflatten_undoes_flatten():
    rows = nn.Flatten()(X)
    np.testing.assert_array_equal(nn.Unflatten(1, (3, 8, 6))(rows), X)
    np.testing.assert_array_equal(nn.Unflatten(-1, (2, 3))(X), X.reshape(5, 3, 8, 2, 3))


def test_initialisers_count_the_places_of_a_kernel():
    assert init.fans((10, 20)) == (10, 20)
    assert init.fans((16, 6, 5, 5)) == (150, 400)
    shape, rng = (200, 50, 3, 3), np.random.default_rng(0)
    for initializer, variance in (
        (init.he_normal, 2 / 450),
        (init.lecun_normal, 1 / 450),
        (init.lecun_uniform, 1 / 450),
        (init.xavier_normal, 2 / (450 + 1800)),
        (init.xavier_uniform, 2 / (450 + 1800)),
    ):
        assert initializer(shape, rng).var() == pytest.approx(variance, rel=0.02)


def test_he_keeps_the_size_through_convolutions_with_relu():
    x, rng = RNG.normal(size=(4, 8, 24, 24)), np.random.default_rng(1)
    for _ in range(6):
        x = np.maximum(nn.Conv2d(8 if x.shape[1] == 8 else 32, 32, 3, padding=1, rng=rng, dtype=float)(x).numpy(), 0)
    assert 0.3 < math.sqrt((x[:, :, 6:-6, 6:-6] ** 2).mean()) < 2


def test_a_convolution_begins_as_the_seed_says_and_without_bias():
    cr.manual_seed(3)
    first = nn.Conv2d(3, 2, 3)
    cr.manual_seed(3)
    second = nn.Conv2d(3, 2, 3)
    np.testing.assert_array_equal(first.weight.numpy(), second.weight.numpy())
    assert not first.bias.numpy().any()
    assert first.weight.dtype == np.float32


def test_layers_are_printed_with_the_options_that_are_not_the_usual_ones():
    texts = {
        "Conv2d(3, 6, 5)": nn.Conv2d(3, 6, 5),
        "Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), dilation=3, groups=2, bias=False)": nn.Conv2d(
            4, 6, (3, 2), 2, (1, 0), 3, 2, False
        ),
        "MaxPool2d(2)": nn.MaxPool2d(2),
        "MaxPool2d(3, stride=2, padding=1, dilation=2)": nn.MaxPool2d(3, 2, 1, 2),
        "AvgPool2d((1, 2), stride=1)": nn.AvgPool2d((1, 2), 1),
        "GlobalAvgPool2d()": nn.GlobalAvgPool2d(),
        "Unflatten(1, (3, 4))": nn.Unflatten(1, (3, 4)),
        "BatchNorm2d(3, eps=1e-05, momentum=0.1)": nn.BatchNorm2d(3),
    }
    for text, layer in texts.items():
        assert repr(layer).splitlines()[0].split("  ")[0] == text
        assert type(eval(f"nn.{text}", {"nn": nn})) is type(layer)


def test_a_model_is_saved_with_all_its_options(tmp_path):
    model = nn.Sequential(
        nn.Unflatten(1, (4, 6, 6)), nn.Conv2d(4, 6, (3, 2), 1, (1, 0), (2, 1), 2, False), nn.BatchNorm2d(6),
        nn.Dropout(0.5), nn.MaxPool2d((2, 1), 1), nn.Conv2d(6, 2, 1), nn.AvgPool2d(2, 1, 1), nn.GlobalMaxPool2d(),
    )  # fmt: skip
    rows = RNG.normal(size=(3, 144)).astype(np.float32)
    model(rows)  # moves the running statistics
    model.eval().save(tmp_path / "model.safetensors")
    loaded = nn.load(tmp_path / "model.safetensors").eval()
    assert repr(loaded) == repr(model)
    np.testing.assert_array_equal(loaded(rows).numpy(), model(rows).numpy())


@pytest.mark.parametrize(
    "wrong", ['"kernel_size": [3, 3, 3]', '"kernel_size": [3, "3"]', '"kernel_size": "3"', '"stride": [[1], 1]']
)
def test_options_in_a_file_are_checked(tmp_path, wrong):
    path = tmp_path / "model.safetensors"
    nn.Conv2d(1, 1, 3).save(path)
    content = path.read_bytes()
    key = wrong.partition(":")[0]
    start = content.index(key.replace('"', '\\"').encode())
    end = content.index(b"]", start) + 1
    text = wrong.replace('"', '\\"').encode()
    header = int.from_bytes(content[:8], "little") + len(text) - (end - start)
    path.write_bytes(header.to_bytes(8, "little") + content[8:start] + text + content[end:])
    with pytest.raises(DataError, match=rf"Conv2d: .*{key.strip(chr(34))}"):
        nn.load(path)


@pytest.mark.parametrize(
    ("layer", "x", "said"),
    [
        (
            nn.Conv2d(3, 2, 3),
            X[:, :2],
            r"Conv2d\(3, 2, 3\): the input has the shape \(5, 2, 8, 6\); expected \(N, 3, H, W\)",
        ),
        (nn.Conv2d(3, 2, 3), X[0], r"the input has the shape \(3, 8, 6\); expected \(N, 3, H, W\)"),
        (
            nn.Conv2d(3, 2, 7),
            X,
            r"Conv2d\(3, 2, 7\): .*kernel of 7 x 7 .* input of 8 x 6: the result would be of 2 x 0",
        ),
        (nn.MaxPool2d(7), X, r"MaxPool2d\(7\): .*kernel of 7 x 7 .* input of 8 x 6"),
        (nn.BatchNorm2d(4), X, r"the input has the shape \(5, 3, 8, 6\); expected \(N, 4, H, W\)"),
        (nn.BatchNorm2d(3), X[:1, :, :1, :1], "a batch of size 1 has no variance"),
        (
            nn.GlobalAvgPool2d(),
            X[0],
            r"GlobalAvgPool2d\(\): the input has the shape \(3, 8, 6\); expected \(N, channels",
        ),
        (nn.GlobalAvgPool2d(), X[..., :0], r"shape \(5, 3, 8, 0\); expected .* at least 1 x 1"),
        (nn.GlobalMaxPool2d(), X[:, :, :0], r"GlobalMaxPool2d\(\): the input has the shape .* at least 1 x 1"),
        (nn.Unflatten(1, (2, 2)), X, r"the input has the shape \(5, 3, 8, 6\); expected the size 4 on axis 1"),
        (nn.Unflatten(4, (2, 2)), X, r"expected the size 4 on axis 4"),
    ],
)
def test_an_input_that_does_not_fit_is_named_with_the_layer(layer, x, said):
    model = nn.Sequential(nn.ReLU(), layer)
    with pytest.raises(ShapeError, match=f"layer 1 = .*{said}"):
        model(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Conv2d(0, 2, 3),
        lambda: nn.Conv2d(3, 2, 0),
        lambda: nn.Conv2d(3, 2, (3, 3, 3)),
        lambda: nn.Conv2d(3, 2, 3, padding=-1),
        lambda: nn.Conv2d(3, 2, 3, groups=2),
        lambda: nn.MaxPool2d(2.0),
        lambda: nn.Conv2d(3, 4, True),
        lambda: nn.Conv2d(3, 4, (3, False)),
        lambda: nn.MaxPool2d(2, padding=2),
        lambda: nn.AvgPool2d((2, 1), padding=1),
        lambda: nn.AvgPool2d(2, 0),
        lambda: nn.Unflatten(1, ()),
        lambda: nn.Unflatten(1.0, (2,)),
    ],
)
def test_options_that_mean_nothing_are_refused(make):
    with pytest.raises(ShapeError, match=r"expected|cannot be parted"):
        make()


def test_batch_norm_brings_each_channel_to_mean_0_and_variance_1_and_remembers():
    layer = nn.BatchNorm2d(3, eps=0.0, momentum=0.25, dtype=float)
    x = X.astype(float)
    y = layer(x).numpy()
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0, atol=1e-13)
    np.testing.assert_allclose(y.var(axis=(0, 2, 3)), 1, rtol=1e-12)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.25 * x.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.75 + 0.25 * x.var(axis=(0, 2, 3), ddof=1), rtol=1e-12)
    scale = np.sqrt(layer.running_var.numpy())[:, None, None]
    expected = (x - layer.running_mean.numpy()[:, None, None]) / scale
    np.testing.assert_allclose(layer.eval()(x).numpy(), expected, rtol=1e-12)


def test_dropout_drops_single_pixels_of_images():
    cr.manual_seed(0)
    y = nn.Dropout(0.25)(np.ones((4, 3, 20, 20)))
    assert 0.2 < (y == 0).mean() < 0.3
    assert not (y == 0).all(axis=(2, 3)).any()


def test_predict_computes_images_in_every_way():
    cr.manual_seed(0)
    model, x = lenet(), RNG.normal(size=(9, 1, 16, 16)).astype(np.float32)
    expected = model(x).numpy()
    for backend in ("eager", "numpy"):
        np.testing.assert_allclose(model.predict(x, batch_size=4, backend=backend), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["eager", "numpy"])
def test_a_lenet_learns_where_a_bright_square_is(backend):
    """Four classes: in which quarter of the image it stands."""
    cr.manual_seed(0)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 240)
    images = rng.normal(0.0, 0.3, (240, 1, 16, 16)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        top, left = np.array(divmod(label, 2)) * 8 + rng.integers(0, 5, 2)
        image[0, top : top + 4, left : left + 4] += 1
    model = lenet()
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=3e-3), backend=backend)
    trainer.fit(data.arrays(images[:200], labels[:200]), epochs=6, batch_size=20)
    assert (model.predict(images[200:]).argmax(axis=1) == labels[200:]).mean() > 0.9
