"""Symbolic sizes: arithmetic agrees with that of ints, and what would need the value is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.errors import ShapeError, TraceError
from chainrule.ops.dims import Dim, Later, broadcast, divide, evaluate, same, show, size_of

N, M = Dim("N"), Dim("M")
sizes = st.fixed_dictionaries({"N": st.integers(0, 50), "M": st.integers(0, 50)})
leaves = st.one_of(st.integers(-5, 5), st.just("N"), st.just("M"))
trees = st.recursive(leaves, lambda t: st.tuples(st.sampled_from(["+", "-", "*"]), t, t), max_leaves=8)


def compute(tree, values):
    if isinstance(tree, tuple):
        a, b = compute(tree[1], values), compute(tree[2], values)
        return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b}[tree[0]]()
    return values.get(tree, tree)


@given(trees, sizes)
def test_sums_and_products_agree_with_ints(tree, values):
    symbolic = compute(tree, {"N": N, "M": M})
    assert isinstance(symbolic, (int, Dim))
    assert evaluate(symbolic, values) == compute(tree, values)


@given(trees, trees)
def test_equal_polynomials_are_equal_however_they_were_made(a, b):
    a, b = compute(a, {"N": N, "M": M}), compute(b, {"N": N, "M": M})
    assert same(a + b, b + a)
    assert same(a * b, b * a)
    assert same((a + b) * b, a * b + b * b)
    assert same(a - a, 0)
    if isinstance(a * b, Dim):
        assert hash(a * b) == hash(b * a)
        assert str(a * b) == str(b * a)


@given(trees, st.integers(1, 9))
def test_what_was_multiplied_is_divided_exactly(tree, factor):
    size = compute(tree, {"N": N, "M": M})
    if not same(size, 0):
        assert same(divide(size * factor * N, factor * N), size)
    assert same(size * factor // factor, size)


@given(sizes, st.integers(1, 9))
def test_true_division_is_a_number_for_later(values, k):
    for later, number in [
        (k / N, lambda n: k / n),
        (N / k, lambda n: n / k),
        ((N + 1) / (k + N), lambda n: (n + 1) / (k + n)),
    ]:
        assert isinstance(later, Later)
        if values["N"]:
            assert evaluate(later, values) == number(values["N"])


def test_roots_and_powers_are_numbers_for_later():
    assert evaluate(np.sqrt(N), {"N": 16}) == 4.0
    assert evaluate(N**0.5 * 2 + 1, {"N": 16}) == 9.0
    assert evaluate(-(1 / N), {"N": 4}) == -0.25
    assert evaluate(np.sqrt(1 / N), {"N": 4}) == 0.5


def test_a_division_that_is_not_whole_for_every_value_raises():
    for a, b in [(N, 2), (N + 1, N), (5, N), (N * N, M)]:
        with pytest.raises(ShapeError, match="cannot be divided"):
            divide(a, b)


def test_sizes_print_as_one_writes_them():
    assert str(N) == "N"
    assert str(2 * N + 1) == "2*N + 1"
    assert str(N * N - 3) == "N*N - 3"
    assert str(1 / N) == "1 / N"
    assert str((N + 1) / (2 * N)) == "(N + 1) / (2*N)"
    assert show((N, 64)) == "(N, 64)"
    assert show((3,)) == "(3,)"
    assert show(()) == "()"


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: int(N), "needs the value of 'N'"),
        (lambda: np.zeros((N, 2)), "needs the value of 'N'"),
        (lambda: range(N), "needs the value of 'N'"),
        (lambda: [0] * N, "needs the value of 'N'"),
        (lambda: float(N), "keep it an operand"),
        (lambda: "a" if N else "b", "branches on 'N'"),
        (lambda: N == 50, "compares 50 with 'N'"),
        (lambda: N != 50, "compares 50 with 'N'"),
        (lambda: N == 50.0, "compares 50.0 with 'N'"),
        (lambda: (N, 3) == (50, 3), "compares 50 with 'N'"),
        (lambda: N < 50, "compares"),
        (lambda: max(N, 1), "compares"),
        (lambda: np.exp(N), "np.exp of the symbolic size 'N'"),
        (lambda: bool(1 / N), "branches on '1 / N'"),
    ],
)
def test_what_would_need_the_value_raises_with_the_users_line(act, says):
    with pytest.raises(TraceError, match=says) as caught:
        act()
    assert str(caught.value).startswith(f"test_sizes.py, line {act.__code__.co_firstlineno}: ")


@given(
    st.lists(st.one_of(st.integers(0, 4), st.just("N")), max_size=3),
    st.lists(st.one_of(st.integers(0, 4), st.just("N")), max_size=3),
)
def test_broadcasting_agrees_with_numpy_where_it_is_allowed(a, b):
    symbolic = [tuple(N if size == "N" else size for size in shape) for shape in (a, b)]
    numbers = [tuple(7 if size == "N" else size for size in shape) for shape in (a, b)]
    try:
        expected = np.broadcast_shapes(*numbers)
    except ValueError:
        with pytest.raises(ShapeError, match="do not broadcast"):
            broadcast(*symbolic)
        return
    assert evaluate(broadcast(*symbolic), {"N": 7}) == expected


def test_the_number_of_elements_is_symbolic_too():
    assert same(size_of((N, 3, N)), 3 * N * N)
    assert size_of(()) == 1
