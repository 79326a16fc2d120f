"""Names become symbols, templates become formulas, and what is printed is what is computed."""

import math

import numpy as np
import pytest

from chainrule.errors import ChainruleError
from chainrule.ops.op import OPS
from chainrule.written.mathematics.evaluation import Evaluation
from chainrule.written.mathematics.formula import (
    Index,
    Number,
    Symbol,
    add,
    big,
    divide,
    indexed,
    multiply,
    negative,
    power,
    subtract,
    transposed,
)
from chainrule.written.mathematics.latex import symbol, write, write_words
from chainrule.written.mathematics.mathml import write as write_mathml
from chainrule.written.mathematics.numerals import number
from chainrule.written.mathematics.template import Template

a, b, c = (Symbol(name, name) for name in "abc")
TWO = Number(2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x", "x"),
        ("W1", "W_{1}"),
        ("Wq", "W_{q}"),
        ("bz", "b_{z}"),
        ("W_out", r"W_{\mathrm{out}}"),
        ("W_1_2", "W_{1, 2}"),
        ("h10", "h_{10}"),
        ("alpha", r"\alpha"),
        ("sigma2", r"\sigma_{2}"),
        ("eps", r"\varepsilon"),
        ("lr", r"\eta"),
        ("x_hat", r"\hat{x}"),
        ("scores", r"\mathrm{scores}"),
        ("mu", r"\mu"),
        ("_hidden", r"\mathrm{hidden}"),
        ("loss", "L"),
    ],
)
def test_a_name_becomes_the_symbol_of_the_field(name, expected):
    assert write(symbol(name)) == expected


def test_a_gradient_is_a_delta_only_if_there_is_what_it_belongs_to():
    assert write(symbol("d_a1", {"a1"})) == r"\delta_{a_{1}}"
    assert write(symbol("dW1", {"W1"})) == r"\delta_{W_{1}}"
    assert write(symbol("dt", {"x"})) == r"\mathrm{dt}"
    assert write(symbol("d_model", {"x"})) == r"d_{\mathrm{model}}"


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (multiply(add(a, b), c, "elements"), r"(a + b) \odot c"),
        (multiply(a, subtract(b, c), "matrix"), r"a\, (b - c)"),
        (subtract(a, add(b, c)), "a - (b + c)"),
        (add(a, negative(b)), "a - b"),
        (subtract(a, negative(b)), "a - (-b)"),
        (negative(negative(a)), "a"),
        (negative(add(a, b)), "-(a + b)"),
        (multiply(negative(a), b, "elements"), r"-a \odot b"),
        (power(add(a, b), TWO), "(a + b)^{2}"),
        (power(power(a, b), TWO), "(a^{b})^{2}"),
        (power(divide(a, b), TWO), r"\left(\frac{a}{b}\right)^{2}"),
        (power(negative(a), TWO), "(-a)^{2}"),
        (transposed(multiply(a, b, "matrix")), r"(a\, b)^\top"),
        (transposed(transposed(a)), "a"),
        (multiply(multiply(a, b, "matrix"), c, "elements"), r"(a\, b) \odot c"),
        (multiply(multiply(a, b, "elements"), c, "matrix"), r"(a \odot b)\, c"),
        (multiply(a, TWO, "numbers"), r"2\, a"),
        (multiply(TWO, multiply(Number(3), a, "numbers"), "numbers"), r"6\, a"),
        (divide(divide(a, b), b), r"\frac{a}{b^{2}}"),
        (divide(negative(a), b), r"-\frac{a}{b}"),
        (divide(multiply(TWO, a, "numbers"), multiply(TWO, b, "numbers")), r"\frac{a}{b}"),
        (big("sum", ("i",), negative(indexed(a, (Index("i"),)))), r"-\sum_{i} a_{i}"),
        (multiply(big("sum", ("i",), indexed(a, (Index("i"),))), b, "numbers"), r"\left(\sum_{i} a_{i}\right)\, b"),
        (Number(1e-5), "10^{-5}"),
        (Number(2.5e-7), r"2.5 \cdot 10^{-7}"),
    ],
)
def test_brackets_stand_where_they_must(formula, expected):
    assert write(formula) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, "0.5"),
        (1e-5, "10^{-5}"),
        (2 / 3, r"\frac{2}{3}"),
        (-1 / 3, r"-\frac{1}{3}"),
        (math.sqrt(2), r"\sqrt{2}"),
        (math.sqrt(2 / math.pi), r"\sqrt{\frac{2}{\pi}}"),
        (math.log(2 * math.pi), r"\ln(2\, \pi)"),
        (math.log(2), r"\ln(2)"),
        (0.123456789012, "0.123456789012"),
    ],
)
def test_a_number_is_written_as_people_write_it(value, expected):
    formula = number(value)
    assert write(formula) == expected
    np.testing.assert_allclose(Evaluation({}, {})(formula), value, rtol=1e-13)


def places(op):
    code = op.forward.__code__
    return {name: Symbol(name, name) for name in code.co_varnames[: code.co_argcount]}


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_has_mathematics_and_if_it_has_a_derivative_a_rule_in_words(name):
    op = OPS[name]
    assert op.math
    if op.vjp is not None and not op.no_gradient:
        assert op.rule
        assert len(op.rule) < 80
        write_words(op.rule).encode("ascii")  # what LaTeX needs no package for


ELEMENTWISE = [n for n, op in OPS.items() if op.code and "{axis}" not in op.code and "{shape}" not in op.code]
KNOWN = [n for n in ELEMENTWISE if n not in ("cast", "pad", "transpose", "stop_gradient", "matmul")]


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_the_mathematics_of_an_op_computes_what_the_op_computes(name):
    op = OPS[name]
    symbols = places(op)
    rng = np.random.default_rng(0)
    values = {key: rng.uniform(*op.domain, size=(3, 4)) for key in symbols}
    if name == "where":
        values["condition"] = values["condition"] > 0
    if name == "cumsum":
        pytest.skip("has an axis")
    formula = Template(op.math, symbols, "elements").formula()
    np.testing.assert_allclose(Evaluation(values, {})(formula), op.forward(*values.values()), rtol=1e-12)
    write_mathml(formula)


def test_a_template_that_is_not_understood_says_so():
    with pytest.raises(ChainruleError, match="is not understood"):
        Template(r"{x} ) {y}", {"x": a, "y": b}, "elements").formula()


def test_the_bracket_of_a_sum_in_a_template():
    assert write(Template("{x}^{p}", {"x": add(a, b), "p": TWO}, "elements").formula()) == "(a + b)^{2}"
    assert write(Template(r"\tanh {x}", {"x": add(a, b)}, "elements").formula()) == r"\tanh(a + b)"


def test_mathml_is_escaped():
    assert "&lt;" in write_mathml(Template("{a} < {b}", {"a": a, "b": b}, "elements").formula())
    assert "<mi>&lt;x&gt;</mi>" in write_mathml(Symbol("x", "<x>"))


def test_words_become_latex():
    assert write_words("a_b & c") == r"a\_b \& c"
    assert write_words("Adam [Kingma (and Ba) 2015]") == "Adam [Kingma (and Ba) 2015]"
    assert write_words("naïve, ½ of 日") == r"na\"{i}ve, U+00BD of U+65E5"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("d(xᵖ) = p xᵖ⁻¹ dx", r"$d(x^{p}) = p\, x^{p-1}\, dx$"),
        ("tanh′ = 1 − tanh²", r"$\tanh' = 1 - \tanh^{2}$"),
        ("dA = G Bᵀ, dB = Aᵀ G", r"$dA = G\, B^{\top}$, $dB = A^{\top}\, G$"),
        ("relu′ = 1 where x > 0, else 0", r"$\operatorname{relu}' = 1$ where $x > 0$, else 0"),
        ("softmax: y ⊙ (g − ⟨g, y⟩)", r"softmax: $y \odot (g - \langle g, y\rangle)$"),
        ("(√x)′ = 1/(2√x)", r"$(\sqrt{x})' = 1/(2\sqrt{x})$"),
        ("|x|′ = sign x", r"$|x|' = \operatorname{sign}\, x$"),
        ("δ is η·x", r"$\delta$ is $\eta\cdot x$"),
        ("mean of n: each element gets 1/n", "mean of n: each element gets $1/n$"),
    ],
)
def test_a_formula_within_words_is_one_span_of_mathematics(words, expected):
    assert write_words(words) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Δ", r"\Delta"),
        ("α_1", r"\alpha_{1}"),
        ("é", r"\text{\'{e}}"),
        ("größe_1", r"\text{gr\"{o}{\ss}e}_{1}"),
        ("W_日", r"W_{\text{U+65E5}}"),
        ("Δx", r"\text{$\Delta$x}"),
        ("a b", r"\text{a b}"),
        ("x^2\\{", r"\text{x\^{}2\textbackslash{}\{}"),
    ],
)
def test_a_name_is_ascii_that_amsmath_alone_takes(name, expected):
    assert write(symbol(name)) == expected
