"""Embedding and AppendOne: rows by index, and the bias trick."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.errors import DataError, ShapeError

TABLE = np.arange(12.0).reshape(4, 3)


def embedding() -> nn.Embedding:
    return nn.Embedding(4, 3, weight_init=lambda shape, rng: TABLE, dtype=np.float64)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32])
def test_an_embedding_gives_the_rows_of_its_table(dtype):
    x = np.array([[0, 3], [1, 1]], dtype)
    np.testing.assert_array_equal(embedding()(x).value, TABLE[x.astype(int)])


def test_the_gradient_of_a_row_is_the_sum_over_its_uses():
    layer = embedding()
    layer(np.array([1, 1, 3])).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad, [[0] * 3, [2] * 3, [0] * 3, [1] * 3])


def test_an_embedding_is_recorded_with_a_symbolic_batch():
    layer = embedding()
    for x in (np.array([2, 0]), np.array([2.0, 0.0])):
        graph = cr.trace(layer, x)
        longer = np.array([3, 3, 1]).astype(x.dtype)
        np.testing.assert_array_equal(graph.run({"W1": TABLE}, longer), TABLE[[3, 3, 1]])


def test_a_model_with_an_embedding_trains_on_a_data_set():
    cr.manual_seed(0)
    model = nn.Sequential(nn.Embedding(4, 8), nn.Flatten(), nn.Linear(16, 3))
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.5))
    words = data.arrays(np.array([[0, 1], [2, 3], [1, 0]]), np.array([0, 1, 2]))
    assert trainer.fit(words, epochs=50, progress=False).train_accuracy[-1] == 1


@pytest.mark.parametrize("x", [[4], [-1], [0.5], [np.nan], [True]])
def test_indices_that_are_none_are_refused(x):
    with pytest.raises(DataError, match="expected whole numbers from 0 to 3"):
        embedding()(np.array(x))


def test_an_embedding_begins_normal_and_comes_back_from_a_file(tmp_path):
    model = nn.Sequential(nn.Embedding(1000, 20))
    assert abs(model[0].weight.value.std() - 1) < 0.05
    model.save(path := tmp_path / "m.safetensors")
    again = nn.load(path)
    assert repr(again) == repr(model)
    assert np.array_equal(again[0].weight.value, model[0].weight.value)


@pytest.mark.parametrize("size", [0, -1, 2.5, 3.0, "3", None, True])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(ShapeError, match=r"Embedding: num_embeddings is .*; expected a whole number, at least 1"):
        nn.Embedding(size, 3)
    with pytest.raises(ShapeError, match=r"Embedding: embedding_dim is .*; expected a whole number, at least 1"):
        nn.Embedding(3, size)


def test_append_one_refuses_a_single_number():
    with pytest.raises(ShapeError, match=r"AppendOne\(\): the input is a single number, of shape \(\)"):
        nn.AppendOne()(np.float32(1))


def test_append_one_and_a_linear_layer_without_bias_are_one_with_bias():
    x = np.random.default_rng(0).normal(size=(5, 784))
    trick = nn.Sequential(nn.AppendOne(), nn.Linear(785, 64, bias=False, dtype=np.float64))
    plain = nn.Linear(784, 64, dtype=np.float64)
    plain.weight.assign(trick[1].weight.value[:784])
    plain.bias.assign(trick[1].weight.value[784])
    np.testing.assert_allclose(trick(x).value, plain(x).value, rtol=1e-12, atol=1e-12)
    assert sum(p.size for p in trick.parameters()) == 785 * 64


def test_append_one_keeps_the_dtype_and_the_leading_axes():
    x = np.zeros((2, 3, 4), np.float32)
    y = nn.AppendOne()(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, np.concatenate([x, np.ones((2, 3, 1))], axis=-1))
    np.testing.assert_array_equal(nn.AppendOne()(x[0, 0]), [0, 0, 0, 0, 1])


def test_append_one_is_recorded_with_a_symbolic_batch():
    graph = cr.trace(nn.AppendOne(), np.zeros((2, 3)))
    np.testing.assert_array_equal(graph.run({}, np.zeros((4, 3)))[:, 3], np.ones(4))
