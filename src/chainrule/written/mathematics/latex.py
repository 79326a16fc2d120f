"""Formulas as LaTeX, and the names of variables as the symbols of the field."""

import re
import unicodedata
from collections.abc import Collection

from chainrule.written.mathematics.formula import (
    All,
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
MARKS = {"′": r"\prime", "ᵀ": r"\top"}  # what stands above the name of a function
_LETTERS = {
    **{letter: f"\\{name}" for name, letter in GREEK.items()},
    **{c: f"\\{unicodedata.name(c).split()[-1].title()}" for c in "ΓΔΘΞΠΣΦΨΩ"},
    "Λ": r"\Lambda",
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
        case All():
            return r" \text{ and } ".join(map(write, f.relations))
        case Cases():
            yes, condition, no = map(write, (f.yes, f.condition, f.no))
            return rf"\begin{{cases}}{yes} & \text{{if }} {condition} \\ {no} & \text{{else}}\end{{cases}}"
        case Big():
            operator = "\\" + f.operator
            return rf"{operator}_{{{', '.join(map(write, f.below))}}} {write(f.body)}"
        case Fence():
            return _in_brackets(write(f.inside), f.bracket)
        case Call():
            return _call(f)
    raise TypeError(f"no formula: {f!r}")


def _letter(f: Symbol) -> str:
    if f.letter in _LETTERS:
        text = _LETTERS[f.letter]
    else:
        text = f.letter if len(f.letter) == 1 and f.letter.isascii() and f.letter.isalnum() else _word(f.letter)
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
    letters = f.function.rstrip("".join(MARKS))
    name = {"": "", "σ": r"\sigma"}.get(letters, _function(letters))
    name += f"_{{{_note(f.note)}}}" if f.note else ""
    name += f"^{{{''.join(MARKS[c] for c in f.function[len(letters) :])}}}" if letters != f.function else ""
    arguments = ", ".join(map(write, f.arguments))
    return f"{name} {arguments}" if f.bare else name + _in_brackets(arguments, "(")


def _in_brackets(text: str, bracket: str) -> str:
    left, right = {"(": ("(", ")"), "[": ("[", "]"), "|": (r"\lvert ", r"\rvert ")}[bracket]
    tall = any(word in text for word in (r"\frac", r"\sum", r"\begin", r"\sqrt"))
    return rf"\left{left}{text}\right{right}" if tall else f"{left}{text}{right}"


def _word(text: str) -> str:
    """A name of several letters, upright; what is no identifier in ASCII is a text."""
    if re.fullmatch(r"\d+(×\d+)*", text):
        return text.replace("×", r" \times ")
    return rf"\mathrm{{{_escaped(text)}}}" if re.fullmatch(r"\w+", text, re.ASCII) else rf"\text{{{_escaped(text)}}}"


def _note(text: str) -> str:
    """What stands below a function: an axis, an index, a shape."""
    return r" \times ".join(map(_escaped, text.split("×")))


def _escaped(text: str) -> str:
    """Text in ASCII: letters with accents by LaTeX's accents, what LaTeX has no letters for by its number."""
    return "".join(_TEXT.get(c, c) if c.isascii() else _in_ascii(c) for c in unicodedata.normalize("NFC", text))


def _in_ascii(c: str) -> str:
    letter, *marks = list(unicodedata.normalize("NFKD", c))
    if letter.isascii() and all(m in _MARKS for m in marks):
        letter = _TEXT.get(letter, letter)
        for m in marks:
            letter = f"{_MARKS[m]}{{{letter}}}"
        return letter
    return _OTHERS.get(c) or (rf"$\{_GREEK_NAMES[c]}$" if c in _GREEK_NAMES else f"U+{ord(c):04X}")


_TEXT = {
    **{c: f"\\{c}" for c in "_&%#${}"}, "\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}",
}  # fmt: skip
_MARKS = {  # combining marks
    "\u0300": r"\`", "\u0301": r"\'", "\u0302": r"\^", "\u0303": r"\~", "\u0304": r"\=", "\u0306": r"\u",
    "\u0307": r"\.", "\u0308": r"\"", "\u030a": r"\r", "\u030b": r"\H", "\u030c": r"\v", "\u0327": r"\c",
}  # fmt: skip
_OTHERS = {"ß": r"{\ss}", "ø": r"{\o}", "Ø": r"{\O}", "æ": r"{\ae}", "Æ": r"{\AE}", "œ": r"{\oe}", "ł": r"{\l}"}
_GREEK_NAMES = {letter: name.removeprefix("\\") for letter, name in _LETTERS.items() if name.count("{") == 0}


def write_words(text: str) -> str:
    """A rule in words as LaTeX for text mode; what is mathematics in it stands in spans of mathematics."""
    parts = re.findall(r"\s+|√?(?:[^\W\d_]+|\d+)[²ᵀᵖ⁻¹ˣ′]*|.", text)
    found, run = "", ""
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        inside = run.count("(") + run.count("⟨") > run.count(")") + run.count("⟩")
        if _is_mathematics(part, following) or (part.isspace() and run) or (part == "," and inside):
            run += part
        else:
            found, run = found + _run(run) + _escaped(part), ""
    return found + _run(run)


def _run(text: str) -> str:
    """What may be mathematics: it is if there are signs in it."""
    end = text[len(text.rstrip()) :]
    signs = any(c in _SIGNS or c in _RAISED or c in "=√/" for c in text)
    return _in_mathematics(text.rstrip()) + end if signs else _escaped(text)


def _is_mathematics(part: str, following: str) -> bool:
    if part[:1].isalpha() or part[:1] == "√":
        letters = part.strip("√²ᵀᵖ⁻¹ˣ′")
        if letters in (*_FUNCTIONS, "sign", *_DIFFERENTIALS, *_SIGNS):
            return True
        return letters.isascii() and (letters != part or len(letters) == 1 or following == "(")
    return part[:1].isdigit() or part in _SIGNS or part in "=+/()"


def _in_mathematics(text: str) -> str:
    text = re.sub(r"[a-zA-Z]{2,}", lambda m: m[0] if m[0] in _DIFFERENTIALS else _function(m[0]), text)
    text = re.sub(rf"[{''.join(_RAISED)}]+", lambda m: f"^{{{''.join(_RAISED[c] for c in m[0])}}}", text)
    text = re.sub(r"√(\w+)", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<=[\w})])'? (?=[\w({\\⟨σ])", lambda m: m[0].rstrip() + r"\, ", text)
    found = ""
    for c in text:
        found += " " * (c.isalpha() and found.endswith(_COMMANDS)) + _SIGNS.get(c, c)
    return f"${found}$"


def _function(name: str) -> str:
    return f"\\{name}" if name in _FUNCTIONS else rf"\operatorname{{{_escaped(name)}}}"


_FUNCTIONS = ("tanh", "sin", "cos", "ln", "exp", "max", "min")
_DIFFERENTIALS = ("da", "db", "dx", "dA", "dB")
_RAISED = {"²": "2", "ᵀ": r"\top", "ᵖ": "p", "⁻": "-", "¹": "1", "ˣ": "x"}
_SIGNS = {
    "′": "'", "−": "-", "<": "<", ">": ">", "|": "|", "σ": r"\sigma", "Σ": r"\Sigma", "π": r"\pi", "⊙": r"\odot",
    "⟨": r"\langle", "⟩": r"\rangle", "≥": r"\ge", "≤": r"\le", "∂": r"\partial", "·": r"\cdot", "α": r"\alpha",
    "η": r"\eta", "δ": r"\delta", "×": r"\times",
}  # fmt: skip
_COMMANDS = tuple(sign for sign in _SIGNS.values() if sign.startswith("\\"))
