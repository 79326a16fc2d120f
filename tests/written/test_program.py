"""What a longhand says, to the letter, and where it cannot be written. That it computes the right thing is tested in
test_longhand_runs.py."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ChainruleError, TraceError, UnknownNameError

RANDOM = np.random.default_rng(0)
X, T = RANDOM.normal(size=(6, 4)), RANDOM.integers(0, 3, 6)


def network(*layers):
    return nn.Sequential(nn.Linear(4, 5, dtype=float), *layers, nn.Linear(5, 3, dtype=float))


STEP = """\
import numpy as np


def step(x, t, W1, b1, W2, b2, lr=0.1):
    N = x.shape[0]
    # forward
    a1 = x @ W1 + b1                        # (N, 5)
    h1 = np.maximum(a1, 0)                  # (N, 5)   relu
    a2 = h1 @ W2 + b2                       # (N, 3)
    s = a2 - a2.max(axis=1, keepdims=True)  # (N, 3)
    log_y = s - np.log(np.exp(s).sum(axis=1, keepdims=True))  # (N, 3)   log-softmax
    loss = -log_y[np.arange(N), t].mean()   # ()       cross-entropy
    # backward
    y = np.exp(log_y)                       # (N, 3)   softmax
    d_a2 = (y - np.eye(3)[t]) / N           # (N, 3)   cross-entropy of softmax: y − t
    db2 = d_a2.sum(axis=0)                  # (3,)     broadcast forward, summed backward
    d_h1 = d_a2 @ W2.T                      # (N, 5)   dA = G Bᵀ
    dW2 = h1.T @ d_a2                       # (5, 3)   dB = Aᵀ G
    d_a1 = d_h1 * (h1 > 0)                  # (N, 5)   relu′ = 1 where x > 0, else 0
    db1 = d_a1.sum(axis=0)                  # (5,)     broadcast forward, summed backward
    dW1 = x.T @ d_a1                        # (4, 5)   dB = Aᵀ G
    # update: gradient descent
    parameters = [W1, b1, W2, b2]
    gradients = [dW1, db1, dW2, db2]
    W1, b1, W2, b2 = [p - lr * d for p, d in zip(parameters, gradients)]
    return loss, (W1, b1, W2, b2), None
"""


def test_a_training_step_reads_as_in_the_books():
    assert cr.longhand(network(nn.ReLU()), X, T, loss=nn.CrossEntropyLoss(), update="sgd") == STEP


def test_a_trainer_brings_its_loss_and_its_optimiser():
    model = network(nn.ReLU())
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    assert cr.longhand(trainer, X, T) == STEP


def written_by_hand(x, t, W, b):
    y = np.tanh(x @ W + b)
    error = y - t
    return (error**2).sum() / x.shape[0]


def test_a_function_keeps_its_names_and_its_lines():
    text = cr.longhand(
        written_by_hand, X, X[:, :3], np.ones((4, 3)), np.ones(3), argnums=(2, 3), batch={"x": 0, "t": 0}
    )
    assert [line.partition("  # (")[0].strip() for line in text.splitlines()[3:]] == [
        "def written_by_hand(x, t, W, b):",
        "N = x.shape[0]",
        "# forward",
        "y = np.tanh(x @ W + b)",
        "error = y - t",
        "loss = (error ** 2).sum() / N",
        "# backward",
        "d_error = 2 * error / N",
        "d_a = d_error * (1 - y ** 2)",
        "db = d_a.sum(axis=0)",
        "dW = x.T @ d_a",
        "return loss, (dW, db)",
    ]


def names_of(text):
    return [line.split(" = ")[0].strip() for line in text.splitlines() if " = " in line and not line.startswith("def")]


def test_a_loop_numbers_its_variables():
    def steps(x, W):
        h = x
        for _ in range(3):
            h = np.tanh(h @ W)
        return h.sum()

    assert [name for name in names_of(cr.longhand(steps, X, np.eye(4))) if name.startswith("h")] == ["h", "h_2", "h_3"]


def test_clipping_and_weight_decay_are_written_and_run():
    model = network(nn.Tanh())
    adam = optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1)
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), adam, clip_norm=0.05, clip_value=0.01)
    namespace = {}
    exec(cr.longhand(trainer, X, T), namespace)
    before = [p.numpy() for p in model.parameters()]
    _, after, _ = namespace["step"](X, T, *before)
    loss = nn.CrossEntropyLoss()(model(X), T)
    loss.backward()
    optim.clip_norm(model.parameters(), 0.05)
    optim.clip_value(model.parameters(), 0.01)
    adam.step()
    for found, p in zip(after, model.parameters(), strict=True):
        np.testing.assert_allclose(found, p.numpy(), rtol=0, atol=1e-12)


def test_running_statistics_are_arguments_of_an_evaluated_model():
    model = nn.Sequential(nn.Linear(4, 70, dtype=float), nn.BatchNorm1d(70, dtype=float))
    model.eval()
    text = cr.longhand(model, X)
    assert "running_mean2, running_var2" in text.splitlines()[3]
    namespace = {}
    exec(text, namespace)
    found = namespace["forward"](X, *[tensor.numpy() for tensor in model.tensors()])
    np.testing.assert_allclose(found, model(X).numpy(), rtol=1e-12)


def test_the_size_of_the_batch_gives_way_to_an_argument_called_n():
    def f(x, N):
        return (x * N).mean()

    text = cr.longhand(f, X, 3.0, batch={"x": 0})
    assert "M = x.shape[0]" in text


def test_gradients_come_in_the_form_of_the_arguments():
    def f(p, x):
        return (x @ p["W"] + p["b"][0]).sum()

    p = {"W": np.ones((4, 2)), "b": [np.ones(2)]}
    text = cr.longhand(f, p, X)
    assert 'return loss, {"W": dW, "b": [db0]}' in text
    namespace = {}
    exec(text, namespace)
    np.testing.assert_allclose(namespace["f"](p, X)[1]["b"][0], [6, 6])


LONG = RANDOM.normal(size=100)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: cr.longhand(lambda x: (x * LONG).sum(), LONG), TraceError, "make it an argument of the function"),
        (lambda: cr.longhand(lambda x: x[0] if x[0] > 0 else x[1], X[0]), TraceError, "branches on"),
        (
            lambda: cr.longhand(lambda lr: lr**2, 1.0, update="sgd"),
            TraceError,
            "'lr' has a name that the program needs",
        ),
        (lambda: cr.longhand(lambda np: np**2, 1.0), TraceError, "rename it"),
        (lambda: cr.longhand(lambda x: x.sum(), X, format="word"), UnknownNameError, "numpy"),
        (lambda: cr.longhand(lambda x: x.sum(), X, update="adan"), UnknownNameError, "did you mean 'adam'"),
        (lambda: cr.longhand(lambda x: x.sum(), X, argnums=1), ChainruleError, "argnums names argument 1"),
        (lambda: cr.longhand(lambda x: x.sum(), X, loss=nn.CrossEntropyLoss()), ChainruleError, "goes with a model"),
        (lambda: cr.longhand(network(), X, loss=nn.CrossEntropyLoss()), ChainruleError, "the targets as the last one"),
        (lambda: cr.longhand(network(), X, T), ChainruleError, "give the loss too"),
        (lambda: cr.longhand(lambda W: W.sum(), X, argnums="W"), ChainruleError, "expected the number of an argument"),
        (lambda: cr.longhand(3, X), ChainruleError, "no function, model or Trainer"),
        (lambda: cr.longhand(lambda x: x.sum(), X, batch="x"), TraceError, "which axis of which argument"),
        (lambda: cr.longhand(lambda x: x * 2, X), ChainruleError, "of one number"),
    ],
)
def test_what_cannot_be_written_is_a_sentence(call, error, words):
    with pytest.raises(error, match=words.replace("(", r"\(")) as caught:
        call()
    assert str(caught.value).endswith(".")


def test_the_line_of_the_person_is_named():
    def f(x):
        y = x * 2
        return (y * LONG).sum()

    with pytest.raises(TraceError, match=r"^test_program\.py, line \d+: "):
        cr.longhand(f, LONG)


def test_parts_with_one_name_are_told_apart():
    def f(x, p, W):
        return ((x @ p["enc"]["W"] @ p["dec"]["W"]) ** 2).sum() + W.sum()

    p = {"enc": {"W": RANDOM.normal(size=(4, 3))}, "dec": {"W": RANDOM.normal(size=(3, 2))}}
    namespace = {}
    exec(cr.longhand(f, X, p, np.ones(2), argnums=(1, 2)), namespace)
    _, (found, dW) = namespace["f"](X, p, np.ones(2))
    expected = cr.grad(f, argnums=1)(X, p, np.ones(2))
    for part in ("enc", "dec"):
        np.testing.assert_allclose(found[part]["W"], expected[part]["W"], rtol=1e-12)
    assert dW.shape == (2,)


def test_only_what_the_optimiser_holds_is_updated():
    model = network(nn.Tanh())
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(list(model.parameters())[2:], lr=0.1))
    text = cr.longhand(trainer, X, T)
    assert "return loss, (W2, b2), None" in text
    assert "dW1" not in text


def test_a_long_line_is_broken_where_python_allows_it():
    model = network(nn.ReLU())
    loss = nn.CrossEntropyLoss(class_weights=[1.0, 2.0, 3.0], label_smoothing=0.1)
    text = cr.longhand(cr.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1)), X, T)
    namespace = {}
    exec(text, namespace)
    value, *_ = namespace["step"](X, T, *(p.numpy() for p in model.parameters()))
    np.testing.assert_allclose(value, loss(model(X), T).numpy(), rtol=1e-12)
    assert max(map(len, text.splitlines())) <= 100


def test_what_the_program_leaves_alone_is_said():
    model = nn.Sequential(nn.Linear(4, 5, dtype=float), nn.BatchNorm1d(5, dtype=float), nn.Linear(5, 3, dtype=float))
    assert "# running_mean2, running_var2: left as they are" in cr.longhand(model, X, T, loss=nn.CrossEntropyLoss())


def test_an_update_takes_no_name_of_the_function():
    def f(p, m, v):
        return ((p @ m - v) ** 2).sum()

    args = np.ones((3, 2)), np.ones(2), np.ones(3)
    namespace = {}
    exec(cr.longhand(f, *args, update="adam"), namespace)
    _, new, _ = namespace["f"](*args) if "f" in namespace else namespace["step"](*args)
    assert new.shape == (3, 2)
    with pytest.raises(TraceError, match="rename it"):
        cr.longhand(f, *args, argnums=1, update="adam")


def test_an_optimiser_that_has_no_lines_says_so():
    model = network()
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), amsgrad=True))
    with pytest.raises(ChainruleError, match="amsgrad"):
        cr.longhand(trainer, X, T)


def test_a_longhand_shows_itself_in_a_notebook():
    text = cr.longhand(lambda x: (x < 1).sum() + x.sum(), X[0])
    assert "<pre>" in text._repr_html_()
    assert "x &lt; 1" in text._repr_html_()
    assert text._repr_latex_() is None
    assert repr(text) == str(text)


IMAGES = """\
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def f(W, b, x):
    N = x.shape[0]
    # forward
    x_windows = sliding_window_view(x, (5, 5), axis=(2, 3))  # (N, 3, 8, 8, 5, 5)
    # convolution
    a = np.einsum('nchwij,ocij->nohw', x_windows, W) + b[:, None, None]  # (N, 4, 8, 8)
    h = np.maximum(a, 0)            # (N, 4, 8, 8)     relu
    h_windows = sliding_window_view(h, (2, 2), axis=(2, 3))[:, :, ::2, ::2]  # (N, 4, 4, 4, 2, 2)
    p = h_windows.max(axis=(4, 5))  # (N, 4, 4, 4)     max-pool
    loss = p.sum()                  # ()
    # backward
    d_p = np.ones((N, 4, 4, 4))     # (N, 4, 4, 4)     sum: each term gets the whole gradient
    # the place of the largest
    winner = h_windows.reshape(-1, 4, 4, 4, 4).argmax(axis=4)  # (N, 4, 4, 4)
    d_h = np.zeros((N, 4, 8, 8))    # (N, 4, 8, 8)
    for i, j in np.ndindex(2, 2):  # max-pool: G goes to the largest element of each window
        d_h[..., i:i + 7:2, j:j + 7:2] += d_p * (winner == 2 * i + j)
    d_a = d_h * (a > 0)             # (N, 4, 8, 8)     max: the gradient goes to the larger one
    db = d_a.sum(axis=(0, 2, 3))    # (4,)             broadcast forward, summed backward
    dx = np.zeros((N, 3, 12, 12))   # (N, 3, 12, 12)
    for i, j in np.ndindex(5, 5):  # convolution: each weight hands G back to what it met
        dx[..., i:i + 8, j:j + 8] += np.einsum('nohw,oc->nchw', d_a, W[..., i, j])
    dW = np.einsum('nchwij,nohw->ocij', x_windows, d_a)  # (4, 3, 5, 5)     dW = windows · G
    return loss, (dW, db, dx)
"""


def test_a_convolution_is_windows_a_sum_of_products_and_one_addition_for_each_weight():
    def f(W, b, x):
        h = np.maximum(cr.conv2d(x, W, b), 0)
        return cr.max_pool2d(h, 2).sum()

    arrays = [np.ones(shape) for shape in ((4, 3, 5, 5), 4, (7, 3, 12, 12))]
    assert cr.longhand(f, *arrays, argnums=(0, 1, 2), batch={"x": 0}) == IMAGES


def test_the_parts_of_a_convolution_by_groups_are_called_what_they_are():
    def f(x, W):
        return (cr.conv2d(x, W, groups=2) ** 2).sum()

    text = cr.longhand(f, np.ones((2, 4, 5, 5)), np.ones((6, 2, 3, 3)), argnums=(0, 1))
    for line in ("G = d_a.reshape(2, 2, 3, 3, 3)", "kernels = W.reshape(2, 3, 2, 3, 3)"):
        assert f"    {line} " in text
    assert text.count("by groups") == 2
    assert "np.einsum('ngohw,goc->ngchw', G, kernels[..., i, j])" in text
    assert "a weight and what it meets" not in text  # the loop says it: each weight hands G back


def test_the_letters_of_a_loop_are_nobodys_arguments():
    def f(i, j):
        return cr.conv2d(i, j).sum()

    with pytest.raises(TraceError, match="'i' has a name that the program needs"):
        cr.longhand(f, np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)))
