"""NumPy's functions on Tensors and Symbols: the values that NumPy gives, and their derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from agreement import assert_agrees_with_numpy

import chainrule as cr
from chainrule.check.numeric import relative_error
from chainrule.errors import ChainruleError, DataError, ShapeError, TraceError
from chainrule.ops.op import NUMPY


class R(tuple[int, ...]):
    """A random array of this shape, with values between 0.3 and 1.4."""

    def __new__(cls, *shape: int) -> "R":
        return tuple.__new__(cls, shape)


def call(*args: Any, **options: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, options


UNARY = [call(R(3, 4)), call(R()), call(R(1)), call(R(0, 3))]
BINARY = [
    *(call(R(3, 4), R(4)), call(R(3, 1), R(1, 4)), call(R(), R(3)), call(R(0, 3), R(3))),
    *(call(R(2), 1.5), call(0.5, R(2))),
]
REDUCTION = [
    *(call(R(3, 4)), call(R(3, 4), 1), call(R(3, 4), axis=0), call(R(2, 3, 4), axis=(0, -1))),
    call(R(3, 4), axis=-1, keepdims=True),
]
INDICES = np.array([[0, 3, 1], [2, 2, 0], [1, 0, 3]])

# How each of NumPy's functions is called. A function that is missing here fails a test.
CALLS: dict[Callable[..., Any], list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    **dict.fromkeys(
        [np.negative, np.exp, np.log, np.sqrt, np.sin, np.cos, np.absolute, np.sign, np.tanh, np.square, np.reciprocal,
         np.positive, np.exp2, np.expm1, np.log2, np.log10, np.tan, np.sinh, np.cosh, np.log1p,
         np.zeros_like, np.ones_like],
        UNARY,
    ),
    **dict.fromkeys(
        [np.add, np.subtract, np.multiply, np.true_divide, np.power, np.maximum, np.minimum, np.logaddexp, np.equal,
         np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal],
        BINARY,
    ),
    **dict.fromkeys([np.sum, np.mean, np.max, np.min], [*REDUCTION, call(R())]),  # noqa: RUF024
    **dict.fromkeys([np.var, np.std], REDUCTION),
    np.cumsum: [call(R(3, 4)), call(R(3, 4), 1), call(R(2, 3, 4), axis=-2), call(R())],
    np.clip: [call(R(3, 4), 0.6, 1.0), call(R(3, 4), None, R(4)), call(R(3, 4), R(3, 1), None), call(R(3, 4), 1, 0.5)],
    np.pad: [call(R(3, 4), 1), call(R(3, 4), (1, 2)), call(R(3, 4), ((1, 0), (0, 2)), constant_values=-0.5)],
    np.stack: [call([R(3), R(3)]), call((R(2, 3), R(2, 3)), axis=-1), call([R(2, 3), R(2, 3)], 1), call([R()])],
    np.where: [call(np.array([True, False, True]), R(2, 3), R(3)), call(np.array([[True], [False]]), R(3), 0.0)],
    np.matmul: [call(R(3, 4), R(4, 2)), call(R(4), R(4, 2)), call(R(3, 4), R(4)), call(R(4), R(4)),
                call(R(5, 3, 4), R(4)), call(R(4), R(5, 4, 2)), call(R(2, 1, 3, 4), R(5, 4, 2)), call(R(0), R(0, 2))],
    np.dot: [call(R(3, 4), R(4, 2)), call(R(4), R(4)), call(R(3, 4), R(4)), call(R(), R(3)), call(R(3), 2.0),
             call(2.0, R(3))],
    np.inner: [call(R(4), R(4)), call(R(3, 4), R(2, 4)), call(R(3, 4), R(4)), call(R(), R(3)), call(R(3), 2.0)],
    np.outer: [call(R(3), R(4)), call(R(2, 2), R(3)), call(R(), R(3))],
    np.einsum: [
        call("ij,jk->ik", R(3, 4), R(4, 2)), call("ij->j", R(3, 4)), call("ij->ji", R(3, 4)), call("ij", R(3, 4)),
        call("ji", R(3, 4)), call("ii", R(3, 3)), call("ii->i", R(3, 3)), call("i,j->ij", R(3), R(4)),
        call("i,i", R(4), R(4)), call("i,i->i", R(4), R(4)), call("bij,bjk->bik", R(5, 3, 4), R(5, 4, 2)),
        call("...ij,...jk->...ik", R(5, 3, 4), R(4, 2)), call("...ij,jk", R(2, 3, 4), R(4, 2)),
        call("ij,jk,kl->il", R(2, 3), R(3, 4), R(4, 2)), call("ij,ij,ij->", R(2, 3), R(2, 3), R(2, 3)),
        call("iij->j", R(3, 3, 2)), call("ij,k->", R(2, 3), R(4)), call("ij,ik->jk", R(0, 3), R(0, 2)),
        call("bqhd,bkhd->bhqk", R(2, 3, 2, 4), R(2, 3, 2, 4)), call("...->...", R(2, 3)), call("i...->...", R(2, 3)),
        call("b...,b...->b...", R(2, 3), R(2, 1)), call(",ij->ij", R(), R(2, 3)),
    ],
    np.vdot: [call(R(4), R(4)), call(R(2, 3), R(2, 3))],
    np.argmax: [call(R(3, 4)), call(R(3, 4), axis=1), call(R(3, 4), axis=0, keepdims=True),
                call(R(3, 4), keepdims=True)],
    np.reshape: [call(R(3, 4), (2, 6)), call(R(3, 4), -1), call(R(3, 4), (2, -1)), call(R(0, 3), (3, 0)),
                 call(R(1), ()), call(R(3, 4), [4, 3]), call(R(3, 4), (np.int64(-1), np.int64(2)))],
    np.ravel: [call(R(3, 4)), call(R())],
    np.transpose: [call(R(3, 4)), call(R(2, 3, 4), (1, 2, 0)), call(R(2, 3, 4), [-1, 0, 1]), call(R())],
    np.swapaxes: [call(R(2, 3, 4), 0, -1)],
    np.moveaxis: [call(R(2, 3, 4), 0, -1), call(R(2, 3, 4), -1, 0), call(R(2, 3, 4), 1, 1)],
    np.broadcast_to: [call(R(4), (3, 4)), call(R(3, 1), (2, 3, 4)), call(R(), 3)],
    np.squeeze: [call(R(1, 3, 1)), call(R(1, 3, 1), 0), call(R(1, 3, 1), axis=(0, -1))],
    np.expand_dims: [call(R(3, 4), 0), call(R(3, 4), -1), call(R(3), axis=(0, 2))],
    np.concatenate: [call([R(2, 3), R(4, 3)]), call((R(2, 3), R(2, 1)), axis=-1), call([R(2), R(0)]),
                     call([R(2, 3), R(3)], axis=None)],
    np.linalg.norm: [call(R(4)), call(R(3, 4)), call(R(3, 4), axis=1), call(R(3, 4), axis=0, keepdims=True),
                     call(R(4), 1), call(R(4), np.inf), call(R(3, 4), 2, axis=1), call(R(3, 4), "fro")],
    np.trace: [call(R(3, 3)), call(R(3, 4))],
    np.take_along_axis: [call(R(3, 4), INDICES, 1), call(R(4, 3), INDICES, axis=0), call(R(3, 4), INDICES - 4, -1),
                         call(R(3, 4), INDICES[:, :1], 1)],
    np.ndim: [call(R(3, 4))],
    np.shape: [call(R(3, 4))],
}  # fmt: skip
ALL = [(f, args, options) for f, calls in CALLS.items() for args, options in calls]


def test_every_supported_function_of_numpy_is_tried() -> None:
    missing = sorted(f.__name__ for f in NUMPY if f not in CALLS)
    assert not missing, f"say in CALLS how to call {', '.join(f'np.{name}' for name in missing)}"


@pytest.mark.parametrize(
    ("f", "args", "options"), ALL, ids=[f"np.{f.__name__}{args}{options or ''}" for f, args, options in ALL]
)
def test_numpys_functions_give_numpys_values_and_their_derivatives(
    f: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    random = np.random.default_rng(3)
    arrays: list[np.ndarray] = []

    def holds_arrays(x: Any) -> bool:
        return isinstance(x, (tuple, list)) and any(isinstance(v, R) for v in x)

    def take_out(x: Any) -> Any:
        if isinstance(x, R):
            arrays.append(random.uniform(0.3, 1.4, x))
        elif holds_arrays(x):
            return list(map(take_out, x))
        return x

    def put_in(x: Any, values: Any) -> Any:
        if isinstance(x, R):
            return next(values)
        return [put_in(v, values) for v in x] if holds_arrays(x) else x

    args = tuple(map(take_out, args))

    def as_a_function_of_its_arrays(*xs: Any) -> Any:
        values = iter(xs)
        return f(*(put_in(x, values) for x in args), **options)

    if f in (np.ndim, np.shape):
        assert f(cr.tensor(arrays[0])) == f(arrays[0])
        return
    assert_agrees_with_numpy(as_a_function_of_its_arrays, *arrays)


@pytest.mark.parametrize("x", [-700.0, -30.0, -1.0, -1e-12, 0.0, 1e-12, 1.0, 20.0, 700.0])
@pytest.mark.parametrize(
    ("f", "derivative"),
    [(np.expm1, np.exp), (np.sinh, np.cosh), (np.cosh, np.sinh), (np.tanh, lambda x: (1 / np.cosh(x)) ** 2)],
    ids=lambda f: f.__name__,
)
def test_compositions_keep_the_precision_of_numpys_own(
    f: Callable[..., Any], derivative: Callable[..., Any], x: float
) -> None:
    value, gradient = cr.value_and_grad(f)(x)
    assert value == pytest.approx(f(x), rel=1e-14, abs=0)
    assert gradient == pytest.approx(derivative(x), rel=1e-14, abs=1e-15)


def test_logaddexp_shares_the_derivative_where_both_are_equal() -> None:
    assert cr.grad(np.logaddexp, (0, 1))(2.0, 2.0) == (0.5, 0.5)
    assert cr.grad(np.logaddexp, (0, 1))(1e4, -1e4) == (1.0, 0.0)


@pytest.mark.parametrize("one", [0.5, np.float64(0.5), np.array(0.5)], ids=["float", "np.float64", "np.array"])
def test_numbers_beside_a_tensor_work_from_both_sides(one: Any) -> None:
    x = np.array([1.0, 2.0])
    for f in (lambda x: one + x, lambda x: x - one, lambda x: one - x, lambda x: one / x, lambda x: x**one,
              lambda x: one**x, lambda x: np.maximum(one, x), lambda x: x > one, lambda x: one <= x):  # fmt: skip
        assert_agrees_with_numpy(f, x)


def test_lists_beside_a_tensor_are_arrays() -> None:
    x = np.array([1.0, 2.0])
    for f in (lambda x: x + [1, 2],  # noqa: RUF005
               lambda x: [3.0, 4.0] * x, lambda x: x @ [[1.0, 2.0], [3.0, 4.0]],
              lambda x: [5.0, 6.0] @ x, lambda x: np.dot([5.0, 6.0], x), lambda x: np.outer(x, [1, 2]),
              lambda x: np.where([True, False], x, 0)):  # fmt: skip
        assert_agrees_with_numpy(f, x)


def test_integers_beside_float32_leave_it_float32() -> None:
    x = np.ones((2, 3), np.float32)
    whole = np.arange(6).reshape(2, 3)
    for f in (lambda x: x * whole, lambda x: whole - x, lambda x: x @ whole.T, lambda x: np.concatenate([x, whole]),
              lambda x: np.concatenate([whole, x]), lambda x: np.where(whole > 2, x, whole)):  # fmt: skip
        t = cr.tensor(x, requires_grad=True)
        y = f(t)
        y.sum().backward()
        graph = cr.trace(f, x)
        assert y.dtype == y.value.dtype == t.grad.dtype == graph.run(x).dtype == graph.outputs[0].dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, bool])
@pytest.mark.parametrize("f", [np.min, np.max, np.sum, np.mean, np.argmax, np.cumsum, np.abs, np.transpose, np.sign])
def test_integers_give_what_numpy_gives(f: Callable[..., Any], dtype: Any) -> None:
    x = np.array([[0, 5, 1], [100, 0, 127]]).astype(dtype)
    if f is not np.sign or dtype is not bool:
        assert_agrees_with_numpy(lambda x: f(x), x)


def test_methods_of_arrays_work() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    for f in (lambda x: x.T, lambda x: x.mT, lambda x: x.transpose(1, 0), lambda x: x.transpose((1, 0)),
              lambda x: x.transpose([1, 0]), lambda x: x.transpose(), lambda x: x.reshape(4, 3),
              lambda x: x.reshape((2, -1)), lambda x: x.reshape([2, 6]), lambda x: x.sum(0), lambda x: x.mean(axis=1),
              lambda x: x.max(1, keepdims=True), lambda x: x.dot(x.T), lambda x: x[None].squeeze(0),
              lambda x: x.swapaxes(0, 1), lambda x: x.ravel(), lambda x: x.flatten(), lambda x: abs(x), lambda x: -x,
              lambda x: +x, lambda x: x.argmax(1), lambda x: x.astype(np.float32).astype(float)):  # fmt: skip
        assert_agrees_with_numpy(f, x, derivatives="float32" not in str(f.__code__.co_names))


# ---- what is not meant as it is written is refused, never computed as something else


@pytest.mark.parametrize(
    ("f", "error"),
    [
        (lambda x: cr.softmax(x, axis=None), ShapeError),
        (lambda x: cr.softmax(x, axis=(0, 1)), ShapeError),
        (lambda x: cr.log_softmax(x, axis=(0,)), ShapeError),
        (lambda x: np.argmax(x, axis=(0, 1)), ShapeError),
        (lambda x: cr.softmax(x, axis=2), ShapeError),
        (lambda x: np.sum(x, axis=(0, 0)), ShapeError),
        (lambda x: np.reshape(x, (5, -1)), ShapeError),
        (lambda x: np.reshape(x, (-1, -1)), ShapeError),
        (lambda x: np.transpose(x, (0, 0)), ShapeError),
        (lambda x: np.squeeze(x, 0), ShapeError),
        (lambda x: np.broadcast_to(x, (4, 3)), ShapeError),
        (lambda x: np.concatenate([x, x.T]), ShapeError),
        (lambda x: x @ x, ShapeError),
        (lambda x: x @ 2.0, ShapeError),
        (lambda x: x + x.T, ShapeError),
        (lambda x: cr.sum_to(x, (3,)), ShapeError),
        (lambda x: x[3], ShapeError),
        (lambda x: x[0, 0, 0], ShapeError),
        (lambda x: x[np.array([0.5])], ShapeError),
        (lambda x: x[np.array([True, False])], ShapeError),
        (lambda x: x[:, np.ones((3, 4), bool)], ShapeError),
        (lambda x: np.linalg.norm(x, 1), TraceError),
        (lambda x: np.add(x, 1, dtype=np.float32), TraceError),
        (lambda x: np.median(x), TraceError),
        (lambda x: np.sum(x, 0, np.float32), TraceError),
        (lambda x: np.mean(x, 0, None), TraceError),
        (lambda x: np.max(x, 0, np.zeros(4)), TraceError),
        (lambda x: np.argmax(x, 0, np.zeros(4, int)), TraceError),
        (lambda x: np.var(x, 0, np.float32), TraceError),
    ],
)
def test_what_does_not_fit_raises_a_sentence(f: Callable[..., Any], error: type[Exception]) -> None:
    x = np.ones((3, 4))
    for run in (lambda: f(cr.tensor(x, requires_grad=True)), lambda: cr.trace(f, x)):
        with pytest.raises(error) as caught:
            run()
        assert isinstance(caught.value, ChainruleError)


def test_a_label_or_index_out_of_range_is_an_error_in_every_mode() -> None:
    x, labels = np.ones((2, 3)), np.array([0, 3])
    graph = cr.trace(lambda x, t: cr.cross_entropy(x, t), x, labels * 0)
    for run in (
        lambda: cr.cross_entropy(x, labels),
        lambda: cr.cross_entropy(cr.tensor(x), labels),
        lambda: graph.run(x, labels),
        lambda: cr.onehot(labels, 3),
        lambda: cr.onehot(-1 - labels, 3),
        lambda: np.take_along_axis(cr.tensor(x), labels[:, None], 1),
        lambda: np.take_along_axis(cr.tensor(x), -1 - labels[:, None], 1),
    ):
        with pytest.raises(DataError, match=r"3|-4"):
            run()


def test_an_infinity_elsewhere_does_not_spoil_what_is_taken() -> None:
    x = cr.tensor(np.array([[1.0, -np.inf], [np.inf, 2.0]]), requires_grad=True)
    y = np.take_along_axis(x, np.array([[0], [1]]), 1)
    y.sum().backward()
    assert y.value.tolist() == [[1.0], [2.0]]
    assert relative_error(x.grad, np.eye(2)) == 0
