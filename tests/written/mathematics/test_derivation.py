"""The derivations that the reports ask for, and that no wrong line is ever printed."""

import re
import sys
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import DerivativeError
from chainrule.graph import derive, trace
from chainrule.graph.recognition import recognize
from chainrule.graph.simplification import simplify
from chainrule.graph.tracing import NamedFunction
from chainrule.ops.activation import Tanh
from chainrule.ops.op import OPS
from chainrule.written.mathematics.derivation import Derivation, derivation, html, latex
from chainrule.written.mathematics.evaluation import Evaluation, UnlikeError
from chainrule.written.mathematics.formula import (
    All,
    Cases,
    Derivative,
    Formula,
    Index,
    Indexed,
    Number,
    Relation,
    Symbol,
    add,
    divide,
    multiply,
)
from chainrule.written.mathematics.latex import write
from chainrule.written.mathematics.steps import step
from chainrule.written.program import longhand
from chainrule.written.updates import UPDATES

sys.path.insert(0, str(Path(__file__).parent))
from tests.written.functions import CASES

ROWS = {"x": 0, "t": 0}


def graph_of(f, *shapes, wrt=None, batch=None):
    """The graph of a function and its derivative, from shapes or arrays."""
    args = [np.ones(s) if isinstance(s, tuple) else s for s in shapes]
    forward = simplify(recognize(simplify(trace(f, *args, batch=batch))))
    return simplify(derive(forward, wrt))


def lines(f, *shapes, **options):
    """left = right of every line, in LaTeX."""
    found = derivation(graph_of(f, *shapes, **options))
    return [f"{write(line.left)} = {write(line.right)}" for line in found.lines]


def labels(n):
    return np.zeros(n, int)


# vu-a1 1.1


def test_report_1_1_softmax_and_its_derivative():
    def element(o):
        return cr.softmax(o)[2]

    # yᵢ(1 − yᵢ) for i = 2, and −yᵢ y₂ for the others
    assert lines(element, (5,))[-1] == r"\frac{\partial L}{\partial o_{i}} = y_{i}\, ([i = 2] - y_{2})"


def test_report_1_1_the_cross_entropy_of_the_softmax():
    def loss(o, t):
        return cr.cross_entropy(o[None], t[None], reduction="sum")

    def by_rows(o, t):
        y = cr.softmax(o)
        return -(t * np.log(y)).sum()

    found = lines(by_rows, (5,), (5,), wrt=["o"])
    assert found[:2] == [r"y = \operatorname{softmax}(o)", r"L = -\sum_{i} t_{i}\, \ln y_{i}"]
    assert found[-1] == r"\frac{\partial L}{\partial o} = y\, \sum_{i} t_{i} - t"  # y − t, as the targets sum to 1
    assert any("y" in line and "- " in line for line in lines(loss, (5,), (5,), wrt=["o"]))


def test_report_1_1_step_by_step():
    def loss(y, t):
        return -(t * np.log(y)).sum()

    assert lines(loss, (5,), (5,), wrt=["y"])[-1] == r"\frac{\partial L}{\partial y} = -\frac{t}{y}"


# ucsd-ece285 2.3, 2.7


def test_report_2_3_the_derivative_of_the_softmax_in_a_direction():
    def directional(a, e):
        g = cr.softmax(a)
        return (g * e).sum()

    found = lines(directional, (4,), (4,), wrt=["a"])
    assert found[-1] == r"\frac{\partial L}{\partial a} = g \odot \left(e - \sum_{i} e_{i}\, g_{i}\right)"


def test_report_2_7_backpropagation():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    f, parameters = model.as_function()

    def loss(p, x, t):
        return cr.cross_entropy(f(p, x), t)

    graph = simplify(derive(simplify(trace(loss, parameters, np.ones((5, 6), np.float32), labels(5), batch=ROWS))))
    found = [f"{write(line.left)} = {write(line.right)}" for line in derivation(graph).lines]
    for line in (
        r"a_{1} = x\, W_{1} + b_{1}",
        r"h_{1} = \max(a_{1}, 0)",
        r"L = -\frac{1}{N}\, \sum_{n} \ln y_{n, t_{n}}",
        r"\delta_{a_{2}} = \frac{y - \operatorname{onehot}(t)}{N}",
        r"\delta_{h_{1}} = \delta_{a_{2}}\, W_{2}^\top",  # e_k = W_{k+1}ᵀ δ_{k+1}
        r"\delta_{a_{1}} = \delta_{h_{1}} \odot [h_{1} > 0]",  # δ_k = (∂g_k/∂a_k)ᵀ e_k
        r"\frac{\partial L}{\partial W_{2}} = h_{1}^\top\, \delta_{a_{2}}",  # ∇W_k = δ_k h_{k−1}ᵀ
        r"\frac{\partial L}{\partial b_{2}} = \sum_{n} \delta_{a_{2}, n}",  # ∇b_k = δ_k 1
        r"\frac{\partial L}{\partial W_{1}} = x^\top\, \delta_{a_{1}}",
    ):
        assert line in found


# vu-a2 3.2


@pytest.mark.parametrize(
    ("f", "shapes", "wrt", "expected"),
    [
        (lambda X, Y: (X / Y).sum(), [(3, 4), (3, 4)], ["X", "Y"], [
            r"\frac{\partial L}{\partial X} = \frac{1}{Y}",
            r"\frac{\partial L}{\partial Y} = -\frac{X}{Y^{2}}",
        ]),
        (lambda X, W, G: ((X @ W.T) * G).sum(), [(3, 4), (5, 4), (3, 5)], ["X", "W"], [
            r"\frac{\partial L}{\partial X} = G\, W",
            r"\frac{\partial L}{\partial W} = G^\top\, X",
        ]),
        (lambda x, G: (np.broadcast_to(x, (3, 16)) * G).sum(), [(3, 1), (3, 16)], ["x"], [
            r"\frac{\partial L}{\partial x_{i}} = \sum_{j} G_{ij}",
        ]),
        (lambda x, G: (x / x.sum(axis=1, keepdims=True) * G).sum(), [(3, 4), (3, 4)], ["x"], [
            r"s_{i} = \sum_{j} x_{ij}",
            r"\frac{\partial L}{\partial x_{ij}} = \frac{G_{ij}}{s_{i}} - \sum_{k} \frac{G_{ik}\, x_{ik}}{s_{i}^{2}}",
        ]),
        (lambda x, G: (np.maximum(x, 0) * G).sum(), [(3, 4), (3, 4)], ["x"], [
            r"\frac{\partial L}{\partial x} = G \odot [x > 0]",
        ]),
        (lambda x, G: (cr.sigmoid(x) * G).sum(), [(3, 4), (3, 4)], ["x"], [
            r"h = \sigma(x)",
            r"\frac{\partial L}{\partial x} = G \odot h \odot (1 - h)",
        ]),
        (lambda x, G: (np.tanh(x) * G).sum(), [(3, 4), (3, 4)], ["x"], [
            r"\frac{\partial L}{\partial x} = G \odot (1 - h^{2})",
        ]),
    ],
)  # fmt: skip
def test_report_3_2_the_derivatives_asked_for(f, shapes, wrt, expected):
    found = lines(f, *shapes, wrt=wrt)
    for line in expected:
        assert line in found


def test_report_3_2_log_softmax():
    def loss(x, G):
        return (cr.log_softmax(x) * G).sum()

    found = lines(loss, (3, 4), (3, 4), wrt=["x"])
    assert found[-1] == r"\frac{\partial L}{\partial x_{ij}} = G_{ij} - y_{ij}\, \sum_{k} G_{ik}"


# usc-ee541 4.7


def test_report_4_7_delta_is_a_minus_y():
    def cost(s, y):
        a = cr.softmax(s)
        return -(y * np.log(a)).sum()

    forward = trace(cost, np.ones(4), np.ones(4))
    whole = simplify(derive(simplify(recognize(simplify(forward))), ["s"]))
    (*_, last) = derivation(whole).lines
    assert write(last.right) == r"p\, \sum_{i} y_{i} - y"  # p − y, as the targets sum to 1
    chain = [
        f"{write(x.left)} = {write(x.right)}" for x in derivation(simplify(derive(simplify(forward), ["s"]))).lines
    ]
    assert any(line.endswith(r"\frac{y}{a}") for line in chain)  # ∇_a C = −y/a
    assert chain[-1].startswith(r"\frac{\partial L}{\partial s} = a \odot")  # Ȧ ∇_a C, with Ȧ = diag(a) − a aᵀ


# ntnu-tdt4265 5.1


def test_report_5_1_errors_and_updates_in_matrices():
    def loss(x, t, w1, w2):
        z = x @ w1
        a = cr.sigmoid(z)
        return cr.cross_entropy(a @ w2, t, reduction="sum")

    graph = graph_of(loss, (5, 3), labels(5), (3, 4), (4, 2), wrt=["w1", "w2"], batch=ROWS)
    found = Derivation(graph, update=UPDATES["sgd"])
    text = [f"{write(x.left)} {x.sign} {write(x.right)}" for x in found.lines]
    for line in (
        r"\delta_{a} = \delta_{a_{2}}\, w_{2}^\top",  # Σ_k w_kj δ_k
        r"\delta_{z} = \delta_{a} \odot a \odot (1 - a)",  # f'(z_j)
        r"\frac{\partial L}{\partial w_{2}} = a^\top\, \delta_{a_{2}}",
        r"w_{2} ← w_{2} - \eta\, \frac{\partial L}{\partial w_{2}}",  # w_kj := w_kj − α δ_k a_j
        r"w_{1} ← w_{1} - \eta\, \frac{\partial L}{\partial w_{1}}",
    ):
        assert line in text
    assert r"w_{1} &\leftarrow w_{1} - \eta\, \frac{\partial L}{\partial w_{1}}" in latex(graph, UPDATES["sgd"])


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_as_formulas_is_the_update_as_code(name):
    update = UPDATES[name]
    rng = np.random.default_rng(0)
    p, d = rng.normal(size=3), rng.normal(size=3)
    code = {**update.numbers, "np": np, "state": None, "p": p, "d": d}
    exec("\n".join(update.lines(["p"], ["d"])), code)
    values = {**update.numbers, "p": p, "d": d, "k": 1, **{name: np.zeros(3) for name in "mvs"}}
    for left, right in step(update, Symbol("p", "p"), Symbol("d", "d")):
        values[left.name] = Evaluation(values, {})(right)
    np.testing.assert_allclose(values["p"], code["p"], rtol=1e-12)


# What holds for all.


def attention(x, Wq, Wk, Wv):
    q, k, v = x @ Wq, x @ Wk, x @ Wv
    return ((cr.softmax(q @ k.T / np.sqrt(4.0)) @ v) ** 2).sum()


def layer_norm(x, g):
    z = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return (g * z**3).sum()


def embedding(E, t, w):
    return ((E[t] @ w) ** 2).sum()


def elastic_net(w, x, t):
    return cr.binary_cross_entropy(x @ w, t) + 0.1 * np.abs(w).sum() + 0.5 * (w**2).sum()


def radial(x, c, w, t):
    d = ((x[:, None, :] - c[None]) ** 2).sum(axis=2)
    return ((np.exp(-d) @ w - t) ** 2).mean()


def mixed(x):
    return cr.logsumexp(x, axis=1).sum() + np.where(x > 0, x, 0.1 * x).sum() + np.cumsum(x, axis=1).max()


def returned_as_it_is(x, c):
    return (x * c).sum()


OWN = [
    (attention, [(5, 4), (4, 4), (4, 4), (4, 4)], {"wrt": ["Wq", "Wk", "Wv"]}),
    (layer_norm, [(3, 4), (4,)], {}),
    (embedding, [(7, 3), labels(4), (3,)], {"wrt": ["E", "w"], "batch": {"t": 0}}),
    (elastic_net, [(3,), (5, 3), (5,)], {"wrt": ["w"], "batch": ROWS}),
    (radial, [(5, 3), (4, 3), (4,), (5,)], {"wrt": ["c", "w"], "batch": ROWS}),
    (mixed, [(3, 4)], {}),
    (returned_as_it_is, [(3,), (3,)], {}),
]


@pytest.mark.parametrize(("f", "shapes", "options"), OWN, ids=lambda x: getattr(x, "__name__", None))
def test_any_function_reads_as_mathematics(f, shapes, options):
    graph = graph_of(f, *shapes, **options)
    text, page = latex(graph), html(graph)
    assert text.count(r"\begin{align*}") == text.count(r"\end{align*}") >= 1
    assert text.count("{") == text.count("}")
    ElementTree.fromstring(page.split(">", 1)[1].replace("&#160;", " "))
    for v in graph.inputs:
        if v.name in (options.get("wrt") or [v.name]):
            assert r"\frac{\partial L}{\partial " in text
    assert latex(graph_of(f, *shapes, **options)) == text


@pytest.mark.parametrize("name", CASES)
def test_every_function_of_the_corpus_reads_as_mathematics(name):
    case = CASES[name]
    args = case.make(np.random.default_rng(0), 5)
    text, page = (
        longhand(case.f, *args, argnums=case.argnums, batch=case.batch, format=kind) for kind in ("latex", "html")
    )
    text.encode("ascii")  # what every LaTeX takes
    ElementTree.fromstring(page.split(">", 1)[1].replace("&#160;", " "))
    assert r"\frac{\partial " in text


@pytest.mark.parametrize(
    ("f", "shapes", "expected"),
    [
        (lambda x, r, G: ((x - r) * G).sum(), [(5, 3), (5, 1), (5, 3)], r"x_{ij} - r_{i}"),
        (lambda x, r: (r * np.exp(x)).sum(), [(5, 3), (3,)], r"\delta_{e, ij} = r_{j}"),
        (lambda x, r: (r * np.tanh(x)).sum(), [(5, 3), (3,)], r"\frac{\partial L}{\partial r} = \sum_{i} h_{i}"),
        (lambda x, r, s: (r * x * s).sum(), [(5, 3), (3,), (5, 3)], r"\sum_{i} s_{i} \odot x_{i}"),
        (lambda x: x.sum(), [(5, 3)], r"\frac{\partial L}{\partial x_{ij}} = 1"),
        (lambda x, W, b: np.tanh(x @ W + b).sum(), [(5, 3), (3, 2), (2,)], r"x\, W + b"),  # as everyone writes it
    ],
)
def test_what_is_broadcast_is_written_with_indices(f, shapes, expected):
    assert any(expected in line for line in lines(f, *shapes))


def test_matrices_of_different_shapes_are_not_added_or_multiplied_by_elements():
    values = {"x": np.ones((5, 3)), "r": np.ones(3), "c": np.ones((5, 1)), "k": np.array(2.0), "W": np.ones((3, 2))}
    x, r, c, k, W = (Symbol(name, name) for name in values)
    b = Symbol("b", "b")
    evaluation = Evaluation({**values, "b": np.ones(2)}, {})
    for wrong in (add(x, r), add(x, c), multiply(x, r, "elements"), multiply(k, r, "elements"), divide(x, c)):
        with pytest.raises(UnlikeError):
            evaluation(wrong)
    for right in (add(x, k), multiply(k, x, "numbers"), add(multiply(x, W, "matrix"), b)):
        evaluation(right)
    assert not evaluation.fits(x, r)


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_can_be_derived_on_paper(name):
    op = OPS[name]
    for each in op.examples[:3]:
        rng = np.random.default_rng(0)
        given = [rng.uniform(*op.domain, size=x) if isinstance(x, tuple) else x for x in each.inputs]
        arrays = [x for x in given if isinstance(x, np.ndarray)]
        if any(x.size == 0 for x in arrays):
            continue

        def f(*xs, given=given, each=each):
            rest = iter(xs)
            return op.apply(*(next(rest) if isinstance(x, np.ndarray) else x for x in given), **each.attributes)

        names = [f"x{i}" for i in range(len(arrays))]
        values = dict(zip(names, arrays, strict=True))
        derivation(trace(NamedFunction(f, "f", names), *arrays), values)
        wrt = [n for n, x in values.items() if x.dtype.kind == "f"]
        if op.no_gradient or not wrt:
            continue
        values["G"] = rng.normal(size=np.shape(f(*arrays)))

        def loss(*xs, f=f):
            return (f(*xs[:-1]) * xs[-1]).sum()

        forward = trace(NamedFunction(loss, "loss", [*names, "G"]), *values.values())
        graph = simplify(derive(simplify(forward), wrt))
        assert len([line for line in derivation(graph, values).lines if line.section == "backward"]) >= len(wrt)


@pytest.mark.parametrize(
    ("f", "shapes", "expected"),
    [
        (lambda x, G: (x.reshape(3, 4) * G).sum(), [(12,), (3, 4)], r"\operatorname{reshape}_{12}(G)"),
        (
            lambda x, W, t: ((x.reshape(-1, 4) @ W - t) ** 2).sum(),
            [(5, 2, 2), (4, 3), (5, 3)],
            r"\operatorname{reshape}_{5 \times 4}(x)",
        ),
        (lambda x, G: (x[::-1] * G).sum(), [(5,), (5,)], r"G_{4 - i}"),
        (lambda x, G: (x[1:-1] * G).sum(), [(5,), (3,)], r"G_{i - 1} & \text{if } 1 \le i < 4 \\ 0 & \text{else}"),
        (lambda x, G: (x[2:] * G).sum(), [(5,), (3,)], r"G_{i - 2} & \text{if } i \ge 2 \\ 0"),
        (lambda x, G: (x[:2] * G).sum(), [(5,), (2,)], r"G_{i} & \text{if } i < 2 \\ 0"),
        (lambda x, G: (x[3:0:-1] * G).sum(), [(5,), (3,)], r"G_{3 - i} & \text{if } 1 \le i < 4 \\ 0"),
        (lambda x, G: (x[-1:] * G).sum(), [(5, 3), (1, 3)], r"[i = 4]\, G_{j}"),
        (lambda x, G: (x[::2] * G).sum(), [(5,), (3,)], r"\sum_{j} [i = 2\, j]\, G_{j}"),
        (lambda x, t, G: (x[t, 1:] * G).sum(), [(5, 3), np.array([1, 1]), (2, 2)], r"\sum_{k} [t_{k} = i]\, "),
        (
            lambda x, t, G: (x[t[:, None], t] * G).sum(),
            [(5, 5), np.array([1, 1]), (2, 2)],
            r"\sum_{k, l} [t_{k} = i]\, [t_{l} = j]\, G_{kl}",
        ),
        (lambda x, t, G: (x[t, t] * G).sum(), [(5, 5), np.array([1, 1]), (2,)], r"[t_{k} = i]\, [t_{k} = j]\, G_{k}"),
        (
            lambda x: (np.pad(x, (1, 2), constant_values=1) ** 2).sum(),
            [(5,)],
            r"x_{i - 1} & \text{if } 1 \le i < 6 \\ 1",
        ),
    ],
)
def test_what_only_arranges_says_what_stands_where(f, shapes, expected):
    found = lines(f, *shapes, wrt=["x"])
    assert any(expected in line for line in found), found
    assert "scatter" not in "".join(found)


IMAGES = (2, 2, 5, 6)


@pytest.mark.parametrize(
    ("f", "shapes", "expected"),
    [
        (lambda x: cr.max_pool2d(x, 2, 3).sum(), [(2, 2, 3, 3)], r"\max_{k < 2, l < 2} x_{ijkl}"),
        (lambda x: cr.max_pool2d(x, (1, 3)).sum(), [IMAGES], r"\max_{p < 3} x_{i, j, k, 3\, l + p}"),
        (lambda x: cr.avg_pool2d(x, 2).sum(), [(2, 2, 3, 3)], r"\frac{1}{4}\, \sum_{k < 2, l < 2} x_{ijkl}"),
        (lambda x: x.max(axis=(2, 3)).sum(), [IMAGES], r"\max_{k, l} x_{ijkl}"),
        (
            lambda x, W: (cr.conv2d(x, W, padding=1) ** 2).sum(),
            [IMAGES, (3, 2, 3, 3)],
            r"} & \text{if } 0 \le k + q - 1 < 5 \text{ and } 0 \le l + r - 1 < 6 \\ 0 & \text{else}\end{cases}",
        ),
        (lambda x: cr.max_pool2d(x, 3, 1, 1).sum(), [IMAGES], r"\operatorname{maxpool}_{3 \times 3}(x)"),
        (lambda x: cr.max_pool2d(x, 2).sum(), [IMAGES], r"\operatorname{maxpool}_{2 \times 2}^{\prime\top}(g, "),
        (lambda x: cr.avg_pool2d(x, 2).sum(), [IMAGES], r"\operatorname{avgpool}_{2 \times 2}^{\top}(g)"),
        (
            lambda x, W: (cr.conv2d(x, W, stride=2) ** 2).sum(),
            [IMAGES, (3, 2, 3, 3)],
            r"\operatorname{conv}^{\top}(\delta_{a}, W)",
        ),
        (
            lambda x, W: (cr.conv2d(x, W, groups=2) ** 2).sum(),
            [IMAGES, (4, 1, 3, 3)],
            r"\operatorname{conv}_{W}^{\top}(\delta_{a}, x)",
        ),
    ],
)
def test_windows_of_images_say_how_far_they_reach(f, shapes, expected):
    graph = graph_of(f, *shapes)
    text, page = latex(graph), html(graph)
    assert expected in text
    ElementTree.fromstring(page.split(">", 1)[1].replace("&#160;", " "))
    assert "2d" not in text + page  # no name of an op


def test_a_symbolic_size_stands_in_shapes_and_indices():
    def loss(x, W):
        return ((x.reshape(-1, 2) @ W) ** 2).sum() + (x[1:, 0] * x[:-1, 0]).sum()

    found = "".join(lines(loss, (5, 3, 2), (2, 4), wrt=["x", "W"], batch={"x": 0}))
    assert r"\operatorname{reshape}_{3N \times 2}(x)" in found
    assert r"\text{if } n < N - 1" in found


def test_a_formula_has_no_value_outside_of_an_array():
    x = Symbol("x", "x")
    after = Indexed(x, (add(Index("i"), Number(1)),))
    evaluation = Evaluation({"x": np.arange(3.0)}, {"i": 3})
    np.testing.assert_array_equal(evaluation(after), [1, 2, np.nan])
    np.testing.assert_array_equal(evaluation(Cases(Relation(Index("i"), "<", Number(2)), after, Number(0))), [1, 2, 0])
    between = Relation(Relation(Number(1), "≤", Index("i")), "<", Number(2))
    np.testing.assert_array_equal(evaluation(between), [False, True, False])
    both = All((Relation(Index("i"), "<", Number(2)), Relation(Index("i"), "≥", Number(1))))
    np.testing.assert_array_equal(evaluation(both), [False, True, False])


def used(part):
    """The names of the values in a formula."""
    if isinstance(part, (Symbol, Derivative)):
        return {part.name}
    inner = part if isinstance(part, tuple) else [getattr(part, field.name) for field in fields(part)]
    return {name for x in inner if isinstance(x, (tuple, Formula)) for name in used(x)}


def test_lines_use_only_what_stands_before_and_are_counted_in_their_order(monkeypatch):
    made = []
    remember = Derivation.__init__
    monkeypatch.setattr(Derivation, "__init__", lambda self, *a, **k: (remember(self, *a, **k), made.append(self))[0])
    for case in CASES.values():
        args = case.make(np.random.default_rng(0), 5)
        longhand(case.f, *args, argnums=case.argnums, batch=case.batch, format="latex")
    for found in made:
        graph = found.graph
        known = {v.name for v in (*graph.inputs, *graph.constants)} | {*graph.sizes, "e^", "π", "ℝ", ""}
        last = 0
        for line in found.lines:
            assert used(line.right) <= known, write(line.left)
            known |= used(line.left)
            if (
                line.section == "backward"
                and (g := re.match(r"g(?:_\{(\d+)|$)", write(line.left)))
                and "g" not in given(graph)
            ):
                assert int(g[1] or 1) > last
                last = int(g[1] or 1)
    assert len(made) == len(CASES)


def given(graph):
    """The names that the person chose."""
    return {v.name[0] for v in (*graph.inputs, *(e.output for e in graph.equations if not e.rule))}


def rules(f, *shapes, **options):
    """The rule of each line, by its left side."""
    return {write(line.left): line.rule for line in derivation(graph_of(f, *shapes, **options)).lines}


def test_the_rules_are_those_that_the_code_says():
    def loss(x, W1, b1, W2):
        h = np.tanh(x @ W1 + b1)
        return ((h @ W2) ** 2).sum()

    found = rules(loss, (5, 3), (3, 4), (4,), (4, 2), wrt=["W1", "b1", "W2"])
    code = longhand(loss, np.ones((5, 3)), np.ones((3, 4)), np.ones(4), np.ones((4, 2)), argnums=(1, 2, 3))
    for by in ("W_{1}", "W_{2}"):
        assert found[rf"\frac{{\partial L}}{{\partial {by}}}"] == "dB = Aᵀ G"
    assert found[r"\delta_{h}"] == "dA = G Bᵀ"
    assert found[r"\frac{\partial L}{\partial b_{1}}"] == "broadcast forward, summed backward"
    assert all(rule in code for rule in found.values())


def test_a_number_is_no_product_rule():
    found = rules(lambda x, y: (3 * np.exp(0.5 * x) * y).sum(), (4,), (4,))
    assert found[r"\frac{\partial L}{\partial x}"] == ""


def test_contributions_by_one_rule_say_it_once():
    found = rules(lambda x, W: (np.exp(x @ W) + np.sin(x[::-1] @ W)).sum(), (5, 3), (3, 2), wrt=["W"])
    assert found[r"\frac{\partial L}{\partial W}"] == "dB = Aᵀ G"


def test_a_product_of_rearranged_axes_is_not_taken_for_a_transpose():
    def loss(a, v):
        return (np.swapaxes(a @ v, 1, 2) ** 2).sum()

    found = rules(loss, (2, 3, 4, 4), (2, 3, 4, 5))
    assert found[r"\frac{\partial L}{\partial a}"] == "dA = G Bᵀ"
    assert found[r"\frac{\partial L}{\partial v}"] == "dB = Aᵀ G"


@pytest.mark.parametrize("name", CASES)
def test_one_line_has_one_rule(name):
    case = CASES[name]
    args = case.make(np.random.default_rng(0), 5)
    text = longhand(case.f, *args, argnums=case.argnums, batch=case.batch, format="latex")
    for line in text.splitlines():
        assert ";" not in line.partition(r"\text{")[2]
        assert "dA = G B" not in line or "dB" not in line


def test_a_wrong_derivative_is_never_printed(monkeypatch):
    monkeypatch.setattr(Tanh, "vjp", staticmethod(lambda g, y, _x: g * (1 + y**2)))
    graph = graph_of(lambda x: np.tanh(x).sum(), (3,))
    with pytest.raises(DerivativeError, match="in a random direction the loss changes by"):
        latex(graph)


def test_a_formula_that_is_not_what_the_op_computes_is_not_printed(monkeypatch):
    monkeypatch.setattr(Tanh, "math", r"\sin {x}")
    (line,) = derivation(trace(lambda x: np.tanh(x), np.ones(3))).lines
    assert write(line.right) == r"\tanh(x)"


def test_the_reader_is_told_what_the_signs_mean():
    page = html(graph_of(lambda x, G: (np.maximum(x, 0) * G).sum(), (3, 4), (3, 4), wrt=["x"]))
    assert "element by element" in page
    assert "1 where the condition holds" in page
    assert "prefers-color-scheme" in page or "light-dark" in page
    assert "<script" not in page


def test_stop_gradient_is_a_constant_for_the_differences_too():
    derivation(graph_of(lambda x: (x * cr.stop_gradient(x)).sum(), (3,)))
