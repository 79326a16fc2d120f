"""The checks of derivatives: hand-written code in the shapes in which people have it, right and wrong."""

import inspect
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import check
from chainrule.lab.defects import DEFECTS
from chainrule.lab.defects.derivatives import sigmoid, softmax


def layer(seed=0):
    rng = np.random.default_rng(seed)
    x, W, b = rng.normal(size=(5, 4)), rng.normal(size=(4, 3)), rng.normal(size=3)
    return x, W, b, rng.normal(size=(5, 3))


def loss_of_layer(x, W, b, t):
    return ((np.tanh(x @ W + b) - t) ** 2).mean()


def gradients_of_layer(x, W, b, t):
    y = np.tanh(x @ W + b)
    d = 2 * (y - t) / t.size * (1 - y**2)
    dx, dW, db = d @ W.T, x.T @ d, d.sum(0)
    return dx, dW, db


def affine(x, W, b):
    return x @ W + b, (x, W, b)


def affine_backward(dout, cache):
    x, W, _ = cache
    dx, dw, db = dout @ W.T, x.T @ dout, dout.sum(0)
    return dx, dw, db


def test_a_tuple_of_gradients():
    report = check.backward(loss_of_layer, gradients_of_layer, layer())
    assert report
    assert [f.name for f in report.findings] == ["x", "W", "b"]
    assert "returns a tuple of gradients" in report.checked[0]
    assert report.skipped == ("t: backward gives no gradient for it.",)


def test_gradients_from_the_cache():
    assert check.backward(affine, affine_backward, layer()[:3])


@pytest.mark.parametrize("form", ["d{}", "{}", "grad_{}", "{}_grad", "d_{}"])
def test_a_dict_of_gradients(form):
    def gradients(x, W, b, t):
        _, dW, db = gradients_of_layer(x, W, b, t)
        return {form.format("W"): dW, form.format("b"): db}

    report = check.backward(loss_of_layer, gradients, layer())
    assert report
    assert [f.name for f in report.findings] == ["W", "b"]


def test_inputs_by_name():
    inputs = dict(zip(("x", "W", "b", "t"), layer(), strict=True))
    assert check.backward(loss_of_layer, gradients_of_layer, inputs)


def test_a_list_with_none():
    assert check.backward(loss_of_layer, lambda x, W, b, t: [None, *gradients_of_layer(x, W, b, t)[1:], None], layer())


@pytest.mark.parametrize("order", ["ae", "ea"])
def test_a_directional_derivative(order):
    def f(a):
        return np.array([a[0] * a[1], np.sin(a[2])])

    def pull(a, e):
        return np.array([a[1] * e[0], a[0] * e[0], np.cos(a[2]) * e[1]])

    mine = pull if order == "ae" else lambda dout, a: pull(a, dout)
    a = np.array([1.0, 2.0, 0.5])
    assert check.backward(f, mine, a)
    assert not check.backward(f, lambda a, e: -pull(a, e), a)


def test_an_update_that_returns_parameters():
    def step(W, b, x, t, lr):
        _, dW, db = gradients_of_layer(x, W, b, t)
        return W - lr * dW, b - lr * db

    x, W, b, t = layer()
    report = check.backward(loss_of_layer, step, (x, W, b, t))
    assert report
    assert "update step" in report.checked[0]


def test_an_update_in_place_with_a_rate_of_its_own():
    def loss(p, x, t):
        return loss_of_layer(x, p["W"], p["b"], t)

    def train(p, x, t):
        _, dW, db = gradients_of_layer(x, p["W"], p["b"], t)
        p["W"] -= 0.05 * dW
        p["b"] = p["b"] - 0.05 * db

    x, W, b, t = layer()
    kept = W.copy()
    report = check.backward(loss, train, ({"W": W, "b": b}, x, t))
    assert report
    assert any("estimated as 0.05" in sentence for sentence in report.checked)
    assert np.array_equal(W, kept)


def test_the_gradients_behind_the_loss():
    rng = np.random.default_rng(0)
    p = {"W": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}
    f = DEFECTS["6.18"].clean
    assert check.backward(f, f, (p, rng.normal(size=(5, 4)), np.array([0, 2, 1, 1, 0])))


def test_a_wrong_factor_is_named():
    def gradients(x, W, b, t):
        return [g * len(x) for g in gradients_of_layer(x, W, b, t)]

    report = check.backward(loss_of_layer, gradients, layer())
    assert report.verdict == "wrong"
    assert {c.kind for c in report.causes} == {"factor"}
    finding = report.findings[1]
    assert finding.yours == pytest.approx(5 * finding.correct)
    assert "ratio 5 = batch size everywhere: 1/N is missing." in str(report)


def test_what_was_not_seen_is_said():
    x = np.random.default_rng(0).normal(size=(4, 3))
    report = check.backward(
        lambda x, t: -np.log(softmax(x)[np.arange(4), t]).sum(), DEFECTS["6.10"].clean, (x, [0, 1, 2, 0])
    )
    assert report
    assert report.skipped == ("t: it is int64, which has no derivative.",)


def test_accumulated_gradients():
    kept = {"W": 0, "b": 0}

    def gradients(x, W, b, t):
        _, dW, db = gradients_of_layer(x, W, b, t)
        kept["W"] = kept["W"] + dW
        kept["b"] = kept["b"] + db
        return kept

    report = check.backward(loss_of_layer, gradients, layer())
    assert not report
    assert {c.kind for c in report.causes} == {"accumulated"}


def test_a_forward_with_random_numbers():
    rng = np.random.default_rng(0)
    report = check.backward(lambda x: (x * (rng.random(x.shape) > 0.5)).sum(), lambda x: np.ones_like(x), np.ones(5))
    assert report.verdict == "not deterministic"
    assert "seed" in str(report)


def test_a_kink_is_no_error():
    report = check.backward(lambda x: np.maximum(x, 0).sum(), lambda x: (x > 0) * 1.0, np.array([1.0, 0.0, -1.0]))
    assert report.verdict == "kink"
    assert not report
    wrong = check.backward(lambda x: np.maximum(x, 0).sum(), lambda x: (x > 0) * 9.0, np.array([1.0, 0.0, -1.0]))
    assert wrong.verdict == "wrong"


def test_lost_precision_is_no_error():
    report = check.backward(lambda x: (x + 1e15).sum() * 1e-3, lambda x: np.full_like(x, 1e-3), np.ones(4))
    assert report.verdict in ("lost precision", "right")


def test_a_step_that_does_not_suit():
    def f(x):
        return np.sin(50 * x).sum()

    x = np.linspace(0.1, 1, 4)
    report = check.backward(f, lambda x: 50 * np.cos(50 * x), x, step=0.1)
    assert report.verdict == "unsuitable step"
    assert check.backward(f, lambda x: 50 * np.cos(50 * x), x, step=1e-6)


def test_float32():
    x, W, b, t = (a.astype(np.float32) for a in layer())
    assert check.backward(loss_of_layer, gradients_of_layer, (x, W, b, t))
    assert not check.backward(
        loss_of_layer, lambda x, W, b, t: [1.01 * g for g in gradients_of_layer(x, W, b, t)], (x, W, b, t)
    )


def test_functions_without_complex_numbers():
    def loss(x):
        return np.abs(x).sum() + float(np.sum(x**2))

    x = np.random.default_rng(0).normal(size=6)
    assert check.backward(loss, lambda x: np.sign(x) + 2 * x, x)
    assert not check.backward(loss, lambda x: 2 * x, x)  # what a complex step alone would believe


def test_assert_backward():
    check.assert_backward(loss_of_layer, gradients_of_layer, layer())
    with pytest.raises(AssertionError, match="the sign is wrong"):
        check.assert_backward(loss_of_layer, lambda x, W, b, t: [-g for g in gradients_of_layer(x, W, b, t)], layer())


def test_what_cannot_be_called():
    with pytest.raises(check.InputError, match=r"cannot be called with 2 inputs"):
        check.backward(loss_of_layer, gradients_of_layer, layer()[:2])
    with pytest.raises(check.InputError, match="not clear how to call"):
        check.backward(loss_of_layer, lambda foo, bar: None, layer())
    with pytest.raises(check.InputError, match="returned None"):
        check.backward(loss_of_layer, lambda x, W, b, t: None, layer())
    with pytest.raises(check.InputError, match="expected names such as"):
        check.backward(loss_of_layer, lambda x, W, b, t: {"first": x}, layer())


def test_right_code_passes_with_every_seed():
    for seed in range(200):
        assert check.backward(loss_of_layer, gradients_of_layer, layer(seed), seed=seed), seed


def test_gradients_of_the_library():
    x, W, b, t = layer()
    report = check.gradients(loss_of_layer, x, W, b, t, argnums=(1, 2))
    assert report
    assert [f.name for f in report.findings] == ["W", "b"]
    assert check.gradients(lambda p: sigmoid(p["a"]) * p["b"], {"a": x, "b": x})


def test_a_wrong_rule_of_ones_own():
    import chainrule as cr

    cube = cr.custom_vjp(lambda x: x**3, lambda g, y, x: 2 * g * x**2)
    with pytest.raises(check.GradientError, match=r"chainrule's .* correct .*ratio 0.6667") as caught:
        check.gradients(lambda x: cube(x).sum(), np.array([1.0, 2.0, 3.0]))
    assert caught.value.report.verdict == "wrong"
    assert "The rule of <lambda>" in str(caught.value) or "The rule of lambda" in str(caught.value)


def test_html_is_escaped():
    report = check.Report("wrong", (check.Finding("<b>", "wrong"),))
    assert "&lt;b&gt;" in report._repr_html_()
    assert "<b>" not in report._repr_html_().replace("<b style", "")


def test_many_kinks_nearby_are_no_error():
    def loss(W, x):
        h = np.zeros((len(x), W.shape[1]))
        h[:] = np.maximum(x @ W, 0)  # writes into an array of floats: no complex numbers
        return (h**2).mean() + h.sum() + 1e-3 * np.abs(W).sum()

    def gradient(W, x):
        h = np.maximum(x @ W, 0)
        return x.T @ ((2 * h / h.size + 1) * (h > 0)) + 1e-3 * np.sign(W), None

    for seed in range(20):
        rng = np.random.default_rng(seed)
        W, x = rng.normal(size=(100, 60)), rng.normal(size=(40, 100))
        assert check.backward(loss, gradient, (W, x), seed=seed)
    assert not check.backward(loss, lambda W, x: (gradient(W, x)[0] - 1e-3 * np.sign(W), None), (W, x))


def test_a_kink_that_is_only_near():
    x = np.array([1.0, 3e-8, -1.0])
    assert check.backward(lambda x: np.maximum(x, 0).sum(), lambda x: (x > 0) * 1.0, x)


def loss_and_cache(x, W, b):
    return np.tanh(x @ W + b).sum(), (x, W, b)


def gradients_from_cache(cache):
    x, W, b = cache
    return affine_backward(1 - np.tanh(x @ W + b) ** 2, cache)


@pytest.mark.parametrize(
    ("forward", "hand"),
    [
        (affine, lambda *args: affine_backward(*args)),
        (affine, lambda dout, *args: affine_backward(dout, *args)),
        (affine, lambda dout, *cache: affine_backward(dout, cache)),
        (affine, lambda dout, cache, **options: affine_backward(dout, cache)),
        (lambda x, W, b: x @ W + b, lambda *args: affine_backward(args[0], args[1:])),
        (lambda x, W, b: x @ W + b, lambda *args: affine_backward(args[-1], args[:-1])),
        (lambda x, W, b: x @ W + b, lambda dout, *inputs: affine_backward(dout, inputs)),
        (loss_and_cache, lambda *args: gradients_from_cache(*args)),
        (loss_and_cache, lambda *inputs: gradients_from_cache(inputs)),
        (loss_and_cache, lambda x, *others: gradients_from_cache((x, *others))),
        (loss_and_cache, lambda x, W, b, **options: gradients_from_cache((x, W, b))),
        (loss_and_cache, lambda **inputs: gradients_from_cache(inputs.values())),
    ],
)
def test_a_function_of_any_number_of_arguments(forward, hand):
    report = check.backward(forward, hand, layer()[:3])
    assert report, str(report)
    assert len(report.findings) == 3
    signature = inspect.signature(hand)

    def wrong(*args, **options):
        return [1.5 * g for g in hand(*args, **options)]

    wrong.__signature__ = signature
    assert check.backward(forward, wrong, layer()[:3]).verdict == "wrong"


def test_a_single_gradient_as_a_list_of_numbers():
    def f(w, x):
        return sum(a * b for a, b in zip(w, x, strict=True)) ** 2

    report = check.backward(f, lambda w, x: [2 * sum(np.multiply(w, x)) * b for b in x], ([0.1, 0.2], [0.3, 0.4]))
    assert report
    assert [finding.name for finding in report.findings] == ["w"]


def test_the_small_number_in_a_logarithm_is_no_error():
    def loss(o, t):
        return -np.log(softmax(o)[np.arange(len(t)), t] + 1e-7).mean()

    o, t = np.random.default_rng(0).normal(size=(5, 3)), np.array([0, 1, 2, 2, 1])
    assert check.backward(loss, lambda o, t: (softmax(o) - np.eye(3)[t]) / len(t), (o, t))


def test_what_is_changed_in_place_is_said_and_put_back():
    def gradients(x, W, b, t):
        found = gradients_of_layer(x, W, b, t)
        x *= 2
        return found

    inputs = layer()
    kept = inputs[0].copy()
    report = check.backward(loss_of_layer, gradients, inputs)
    assert report
    assert "backward changes x in place; it was given copies." in report.checked
    assert np.array_equal(inputs[0], kept)


def test_a_gradient_that_is_not_a_number():
    x = np.random.default_rng(0).normal(size=(4, 3))
    report = check.backward(lambda x: (x**2).sum(), lambda x: np.where(x == x[1, 2], np.nan, 2 * x), x)
    assert report.findings[0].worst == (1, 2)
    assert "1 element is not finite" in str(report)
    lost = check.backward(lambda x: np.log(-(x**2)).sum(), lambda x: 2 / x, x)
    assert lost.verdict == "lost precision"
    assert "there is nothing to compare with" in str(lost)


def test_gradients_may_be_lists_and_columns():
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(6, 4)), rng.normal(size=4), rng.normal(size=1)

    def loss(x, w, b):
        return ((x @ w + b) ** 2).sum()

    def lists(x, w, b):
        d = 2 * (x @ w + b)
        return np.outer(d, w).tolist(), (x.T @ d).tolist(), [float(d.sum())]

    def columns(x, w, b):
        d = 2 * (x @ w + b)
        return np.outer(d, w), (x.T @ d)[:, None], d.sum()

    def rows(x, w, b):
        d = 2 * (x @ w + b)
        return np.outer(d, w), x.T @ d, d  # not summed

    for right in (lists, columns):
        assert check.backward(loss, right, (x, w, b))
    assert not check.backward(loss, rows, (x, w, b))


def test_a_gradient_of_the_wrong_shape_belongs_to_the_input_beside_its_neighbours():
    rng = np.random.default_rng(0)
    W, b, x, t = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=(6, 4)), rng.normal(size=(6, 3))

    def loss(W, b, x, t):
        return ((x @ W + b - t) ** 2).sum()

    def backward(W, b, x, t):
        d = 2 * (x @ W + b - t)
        return x.T @ d, d.sum(axis=1)

    report = check.backward(loss, backward, (W, b, x, t))
    assert [(f.name, f.verdict) for f in report.findings] == [("W", "right"), ("b", "wrong")]
    assert report.causes[0].kind == "wrong axis"


def test_a_function_may_close_over_a_tensor():
    W = cr.tensor(np.ones((4, 2)))
    assert check.gradients(lambda x: ((x @ W) ** 2).sum(), np.ones((3, 4)))


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.arange(4), r"x is int64; pass arrays of floats: x\.astype\(float\)"),
        (np.ones(3, bool), "x is bool; pass arrays of floats: x"),
        (3, "x is int64"),
        (np.ones(3) * 1j, "x is complex128; pass arrays of floats\\."),
        (np.ones((0, 3)), "x is empty"),
        ("x", "x is a str"),
    ],
)
def test_where_there_is_no_derivative_nothing_is_called_right(x, said):
    for run in (check.backward, check.assert_backward):
        with pytest.raises(check.InputError, match=said):
            run(lambda x: (x**2).sum(), lambda x: -5 * x, x)
    with pytest.raises(check.InputError, match=said):
        check.gradients(lambda x: (x**2).sum(), x)


@pytest.mark.parametrize("returned", ["dW", {"W": "dW"}, (None, np.ones(3))])
def test_if_no_gradient_comes_back_nothing_is_called_right(returned):
    inputs = {"W": np.ones(3), "k": np.arange(3)}
    with pytest.raises(check.InputError, match="returned no gradient that could be compared"):
        check.backward(lambda W, k: (W * k).sum(), lambda W, k: returned, inputs)


def test_what_is_no_array_of_numbers_is_said():
    report = check.backward(lambda x, w: (x * w).sum(), lambda x, w: (w, "dw"), (np.ones(3), np.ones(3)))
    assert [f.name for f in report.findings] == ["x"]
    assert "a str was returned for w, which is no array of numbers." in report.checked


def test_arguments_that_are_none_of_the_kind():
    f, x = np.sum, np.ones(3)
    for argnums in (4, -2, (0, 1)):
        with pytest.raises(check.InputError, match="but one argument was given, and they are counted from 0"):
            check.gradients(f, x, argnums=argnums)
    for argnums in ("x", 1.5):
        with pytest.raises(check.InputError, match="expected the number of an argument"):
            check.gradients(f, x, argnums=argnums)
    assert check.gradients(f, x, argnums=-1)
    assert check.gradients(f, x, argnums=np.int64(0))
    for functions, said in (((f, 3), "backward is 3"), ((3, f), "forward is 3"), ((f, None), "backward is None")):
        with pytest.raises(check.InputError, match=f"{said}; expected a function"):
            check.backward(*functions, x)
    with pytest.raises(check.InputError, match="f is 3; expected a function"):
        check.gradients(3, x)


def test_a_builtin_that_takes_no_arrays():
    for x, said in ((np.ones(3), "can be converted"), (3.0, "float")):
        with pytest.raises(check.InputError, match=rf"^sqrt\(x\) cannot be computed here: .*{said}"):
            check.gradients(math.sqrt, x)
    assert check.backward(math.sqrt, lambda x: 0.5 / math.sqrt(x), 3.0)


def svm_loss(W, X, y, reg):
    """The loss and its gradient in one, as in Stanford's CS231n; scipy.optimize calls it jac=True."""
    rows = np.arange(len(y))
    scores = X @ W
    margins = np.maximum(0, scores - scores[rows, y][:, None] + 1)
    margins[rows, y] = 0
    d = (margins > 0) * 1.0
    d[rows, y] = -d.sum(axis=1)
    return margins.sum() / len(y) + reg * np.sum(W * W), X.T @ d / len(y) + 2 * reg * W


def svm_inputs():
    rng = np.random.default_rng(0)
    return rng.normal(size=(5, 3)), rng.normal(size=(7, 5)), rng.integers(0, 3, 7), 0.1


@pytest.mark.parametrize(
    "hand",
    [
        svm_loss,
        lambda W, X, y, reg: [*svm_loss(W, X, y, reg)],
        lambda W, X, y, reg: svm_loss(W, X, y, reg)[::-1],
        lambda W, X, y, reg: (np.reshape(svm_loss(W, X, y, reg)[0], (1, 1)), svm_loss(W, X, y, reg)[1]),
    ],
)
def test_the_loss_beside_one_gradient(hand):
    for forward in (svm_loss, lambda W, X, y, reg: svm_loss(W, X, y, reg)[0]):
        report = check.backward(forward, hand, svm_inputs())
        assert report, str(report)
        assert [f.name for f in report.findings] == ["W"]
        assert not check.backward(forward, lambda W, X, y, reg: (hand(W, X, y, reg)[0], W), svm_inputs())


def test_the_loss_beside_gradients_in_another_order():
    def hand(W, X, y, reg):
        loss, dW = svm_loss(W, X, y, reg)
        dreg = (W * W).sum()
        return loss, dreg, dW

    report = check.backward(svm_loss, hand, svm_inputs())
    assert report
    assert {f.name for f in report.findings} == {"W", "reg"}


def test_the_loss_beside_a_dict_and_something_else():
    def hand(W, X, y, reg):
        loss, dW = svm_loss(W, X, y, reg)
        grads, scores = {"W": dW}, X @ W
        return loss, grads, scores

    report = check.backward(svm_loss, hand, svm_inputs())
    assert report, str(report)
    assert [f.name for f in report.findings] == ["W"]


def test_the_loss_beside_the_derivative_of_a_number():
    assert check.backward(lambda x: (x**2, 2 * x), lambda x: (x**2, 2 * x), 2.0)
    assert not check.backward(lambda x: x**2, lambda x: (x**2, 3 * x), 2.0)


def test_a_derivative_that_is_as_large_as_the_loss_is_none():
    inputs = {"w": np.ones(3), "b": 0.2}
    hand = lambda w, b: (2 * w * np.exp(b), (w**2).sum() * np.exp(b))  # noqa: E731
    report = check.backward(lambda w, b: (w**2).sum() * np.exp(b), hand, inputs)
    assert report
    assert [f.name for f in report.findings] == ["w", "b"]
    listed = check.backward(
        lambda w, b: (w**2).sum() * np.exp(b), lambda w, b: (hand(w, b)[0].tolist(), float(hand(w, b)[1])), inputs
    )
    assert [f.name for f in listed.findings if f.verdict == "right"] == ["w", "b"]


def test_gradients_in_another_order_than_the_inputs_are_told_by_their_shapes():
    def loss(weights, bias, x):
        return np.tanh(x @ weights + bias).sum()

    def hand(weights, bias, x):
        d = 1 - np.tanh(x @ weights + bias) ** 2
        return d.sum(axis=0), x.T @ d

    x, W, b, _ = layer()
    report = check.backward(loss, hand, (W, b, x))
    assert report, str(report)
    assert [f.name for f in report.findings] == ["weights", "bias"]
    assert "the gradients come in another order than the inputs" in str(report)
    assert not check.backward(loss, lambda *inputs: [2 * g for g in hand(*inputs)], (W, b, x))
