"""Formulas as LaTeX, and the names of variables as the symbols of the field."""

import re
from collections.abc import Collection

from chainrule.written.mathematics.formula import (
    Big,
    Call,
    Cases,
    Derivative,
    Fence,
    Formula,
    Fraction,
    Index,
    Indexed,
    Number,
    Power,
    Product,
    Relation,
    Reshaped,
    Root,
    Sum,
    Symbol,
    Transposed,
)

GREEK = dict(
    zip(
        [
            "alpha",
            "beta",
            "gamma",
            "delta",
            "epsilon",
            "zeta",
            "eta",
            "theta",
            "kappa",
            "lambda",
            "mu",
            "nu",
            "xi",
            "pi",
            "rho",
            "sigma",
            "tau",
            "phi",
            "chi",
            "psi",
            "omega",
        ],
        "αβγδεζηθκλμνξπρστφχψω",
        strict=True,
    )
)
SPECIAL = {"eps": "epsilon", "lam": "lambda", "lambda_": "lambda", "lr": "eta", "loss": "L", "Gamma": "Γ", "Sigma": "Σ"}
ACCENTS = {"hat": "hat", "bar": "bar", "tilde": "tilde", "dot": "dot"}
SIGNS = {"∈": r"\in", "≠": r"\ne", "≤": r"\le", "≥": r"\ge", "←": r"\leftarrow"}
_LETTERS = {
    **{letter: f"\\{name}" for name, letter in GREEK.items()},
    "Γ": r"\Gamma",
    "Σ": r"\Sigma",
    "ε": r"\varepsilon",
    "ℒ": r"\mathcal{L}",
    "ℝ": r"\mathbb{R}",
}


def symbol(name: str, variables: Collection[str] = ()) -> Formula:
    """The symbol for a variable: `W1` is W with the subscript 1, `d_a1` is δ with the subscript a1, `x_hat` has a hat.

    Parameters
    ----------
    name : str
    variables : collection of str
        The names of all variables. `d_a1` and `da1` are gradients only if there is an `a1`.
    """
    for of in (name.removeprefix("d_"), name.removeprefix("d")):
        if of != name and of in variables:
            return Symbol(name, "δ", (symbol(of),))
    if re.fullmatch(r"[A-Z][a-z]{1,2}|b[a-z]", name) and name not in GREEK and name not in SPECIAL:
        return Symbol(name, name[0], (_subscript(name[1:]),))  # Wq, bz
    first, *rest = [part for part in SPECIAL.get(name, name).split("_") if part] or [name]
    accent = ACCENTS[rest.pop(0)] if rest and rest[0] in ACCENTS else ""
    match = re.fullmatch(r"(.*?)(\d*)", first)
    word, digits = match.groups() if match else (first, "")
    if not word:
        word, digits = digits, ""
    word = SPECIAL.get(word, word)
    subscripts = [digits, *rest] if digits else rest
    return Symbol(name, GREEK.get(word, word), tuple(map(_subscript, subscripts)), accent)


def _subscript(text: str) -> Formula:
    return Number(int(text)) if text.isdigit() and text.isascii() else Symbol(text, GREEK.get(text, text))


def write(f: Formula) -> str:
    """A formula in LaTeX, for amsmath."""
    match f:
        case Symbol():
            return _subscripted(_letter(f), [write(s) for s in f.subscripts])
        case Derivative():
            return _derivative(f, f.by)
        case Number():
            return _number(f.text)
        case Index():
            return f.letter
        case Sum():
            return _terms([(sign, write(x)) for sign, x in f.terms])
        case Product():
            sign = {"matrix": r"\, ", "elements": r" \odot ", "numbers": r"\, "}[f.kind]
            return sign.join(map(write, f.factors))
        case Fraction():
            return rf"\frac{{{write(f.above)}}}{{{write(f.below)}}}"
        case Power():
            return f"{write(f.base)}^{{{write(f.exponent)}}}"
        case Transposed():
            return rf"{write(f.base)}^\top"
        case Root():
            return rf"\sqrt{{{write(f.inside)}}}"
        case Indexed():
            return _indexed(f)
        case Reshaped():
            return write(f.inside)
        case Relation():
            return f"{write(f.left)} {SIGNS.get(f.sign, f.sign)} {write(f.right)}"
        case Cases():
            yes, condition, no = map(write, (f.yes, f.condition, f.no))
            return rf"\begin{{cases}}{yes} & \text{{if }} {condition} \\ {no} & \text{{else}}\end{{cases}}"
        case Big():
            operator = "\\" + f.operator
            return rf"{operator}_{{{', '.join(f.indices)}}} {write(f.body)}"
        case Fence():
            return _in_brackets(write(f.inside), f.bracket)
        case Call():
            return _call(f)
    raise TypeError(f"no formula: {f!r}")


def _letter(f: Symbol) -> str:
    if f.letter in _LETTERS:
        text = _LETTERS[f.letter]
    else:
        text = f.letter if len(f.letter) == 1 else rf"\mathrm{{{_escaped(f.letter)}}}"
    return rf"\{f.accent}{{{text}}}" if f.accent else text


def _subscripted(base: str, subscripts: list[str]) -> str:
    return f"{base}_{{{', '.join(subscripts)}}}" if subscripts else base


def _indexed(f: Indexed) -> str:
    indices = [write(i) for i in f.indices]
    plain = all(isinstance(i, Index) for i in f.indices)
    text = ("" if plain else ", ").join(indices)
    if isinstance(f.base, Derivative):
        return _derivative(f.base, Indexed(f.base.by, f.indices))
    if isinstance(f.base, Symbol):
        return _subscripted(_letter(f.base), [*map(write, f.base.subscripts), text])
    return f"{write(f.base)}_{{{text}}}"


def _derivative(f: Derivative, by: Formula) -> str:
    return rf"\frac{{\partial {write(f.of)}}}{{\partial {write(by)}}}"


def _terms(terms: list[tuple[int, str]]) -> str:
    text = "".join(f" {'+' if sign > 0 else '-'} {x}" for sign, x in terms)
    return text[3:] if terms[0][0] > 0 else text[1:2] + text[3:]


def _number(text: str) -> str:
    if "e" in text:
        digits, exponent = text.split("e")
        ten = f"10^{{{int(exponent)}}}"
        return ten if digits == "1" else rf"{digits} \cdot {ten}"
    return {"inf": r"\infty", "nan": r"\mathrm{nan}"}.get(text, text)


def _call(f: Call) -> str:
    names = {
        "": "",
        "σ": r"\sigma",
        **{name: f"\\{name}" for name in ("tanh", "ln", "sin", "cos", "max", "min", "exp")},
    }
    name = names.get(f.function, rf"\operatorname{{{_escaped(f.function)}}}") + (f"_{{{f.note}}}" if f.note else "")
    arguments = ", ".join(map(write, f.arguments))
    return f"{name} {arguments}" if f.bare else name + _in_brackets(arguments, "(")


def _in_brackets(text: str, bracket: str) -> str:
    left, right = {"(": ("(", ")"), "[": ("[", "]"), "|": (r"\lvert ", r"\rvert ")}[bracket]
    tall = any(word in text for word in (r"\frac", r"\sum", r"\begin", r"\sqrt"))
    return rf"\left{left}{text}\right{right}" if tall else f"{left}{text}{right}"


def _escaped(text: str) -> str:
    return re.sub(r"([_&%#$])", r"\\\1", text).replace("×", r" \times ")


def write_words(text: str) -> str:
    """A rule in words as LaTeX for text mode: Unicode as mathematics."""
    return "".join(f"${_WORDS[c]}$" if c in _WORDS else _escaped(c) for c in text)


_WORDS = {
    "′": "'", "−": "-", "²": "^2", "ᵀ": r"^\top", "σ": r"\sigma", "Σ": r"\Sigma", "√": r"\surd", "π": r"\pi",
    "⊙": r"\odot", "⟨": r"\langle", "⟩": r"\rangle", "ᵖ": "^p", "⁻": "^-", "¹": "^1", "ˣ": "^x", "<": "<", ">": ">",
    "≥": r"\ge", "≤": r"\le", "∂": r"\partial", "·": r"\cdot", "|": "|", "α": r"\alpha", "η": r"\eta",
    "δ": r"\delta", "×": r"\times",
}  # fmt: skip
