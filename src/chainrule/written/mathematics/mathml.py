"""Formulas as MathML, which browsers show by themselves."""

from html import escape

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

ACCENTS = {"hat": "^", "bar": "¯", "tilde": "~", "dot": "˙"}
BIG = {"sum": "∑", "max": "max", "min": "min"}


def write(f: Formula) -> str:
    """A formula as the inside of a `<math>` element."""
    match f:
        case Symbol():
            return _subscripted(_letter(f), list(map(write, f.subscripts)))
        case Derivative():
            return _derivative(f, f.by)
        case Number():
            return _number(f.text)
        case Index():
            return _identifier(f.letter)
        case Sum():
            return _row(*(part for i, (sign, x) in enumerate(f.terms) for part in _term(i, sign, write(x))))
        case Product():
            between = _operator("⊙") if f.kind == "elements" else '<mspace width="0.17em"/>'
            return _row(between.join(map(write, f.factors)))
        case Fraction():
            return f"<mfrac>{_row(write(f.above))}{_row(write(f.below))}</mfrac>"
        case Power():
            return _raised(f.base, _row(write(f.exponent)))
        case Transposed():
            return _raised(f.base, _operator("⊤"))
        case Root():
            return f"<msqrt>{write(f.inside)}</msqrt>"
        case Indexed():
            return _indexed(f)
        case Reshaped():
            return write(f.inside)
        case Relation():
            return _row(write(f.left), _operator(f.sign), write(f.right))
        case Big():
            under = f"<munder>{_big(f.operator)}{_row(_operator(',').join(map(write, f.below)))}</munder>"
            return _row(under, write(f.body))
        case All():
            return _row("<mtext>&#160;and&#160;</mtext>".join(map(write, f.relations)))
        case Fence():
            return _row(_bracket(f.bracket), write(f.inside), _bracket({"(": ")", "[": "]", "|": "|"}[f.bracket]))
        case Cases():
            return _cases(f)
        case Call():
            arguments = _operator(",").join(map(write, f.arguments))
            if f.bare:
                return _row(_function(f), '<mspace width="0.17em"/>', arguments)
            return _row(_function(f), _bracket("("), arguments, _bracket(")"))
    raise TypeError(f"no formula: {f!r}")


def equation(left: Formula, sign: str, right: Formula) -> tuple[str, str]:
    """Both sides as `<math>` elements, the second with the sign between them."""
    style = '<math displaystyle="true">'
    return f"{style}{write(left)}</math>", f"{style}{_row(_operator(sign), write(right))}</math>"


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _operator(sign: str) -> str:
    return f"<mo>{escape(sign)}</mo>"


def _bracket(sign: str) -> str:
    return f'<mo stretchy="true" fence="true">{sign}</mo>'


def _identifier(text: str) -> str:
    upright = ' mathvariant="normal"' if len(text) == 1 and not text.isalpha() else ""
    return f"<mi{upright}>{escape(text)}</mi>"


def _letter(f: Symbol) -> str:
    text = _identifier(f.letter)
    return f"<mover>{text}<mo>{ACCENTS[f.accent]}</mo></mover>" if f.accent else text


def _subscripted(base: str, subscripts: list[str]) -> str:
    return f"<msub>{base}{_row(_operator(',').join(subscripts))}</msub>" if subscripts else base


def _raised(f: Formula, raised: str) -> str:
    base = write(f)
    if base.startswith("<msub>") and isinstance(f, (Symbol, Indexed)):  # both scripts at one place
        return f"<msubsup>{base.removeprefix('<msub>').removesuffix('</msub>')}{raised}</msubsup>"
    return f"<msup>{_row(base)}{raised}</msup>"


def _indexed(f: Indexed) -> str:
    plain = all(isinstance(i, Index) for i in f.indices)
    text = _row(("" if plain else _operator(",")).join(map(write, f.indices)))
    if isinstance(f.base, Derivative):
        return _derivative(f.base, Indexed(f.base.by, f.indices))
    if isinstance(f.base, Symbol):
        return _subscripted(_letter(f.base), [*map(write, f.base.subscripts), text])
    return f"<msub>{write(f.base)}{text}</msub>"


def _derivative(f: Derivative, by: Formula) -> str:
    d = _operator("∂")
    return f"<mfrac>{_row(d, write(f.of))}{_row(d, write(by))}</mfrac>"


def _number(text: str) -> str:
    if "e" not in text:
        return f"<mn>{escape(text.replace('inf', '∞'))}</mn>"
    digits, exponent = text.split("e")
    power = f"<msup><mn>10</mn><mn>{int(exponent)}</mn></msup>"
    return power if digits == "1" else _row(f"<mn>{digits}</mn>", _operator("·"), power)


def _term(i: int, sign: int, text: str) -> list[str]:
    if i == 0 and sign > 0:
        return [text]
    return [f'<mo form="{"infix" if i else "prefix"}">{"+" if sign > 0 else "−"}</mo>', text]


def _big(operator: str) -> str:
    if operator == "sum":
        return '<mo movablelimits="false">∑</mo>'
    return f'<mo movablelimits="false" lspace="0" rspace="0.17em">{BIG[operator]}</mo>'


def _function(f: Call) -> str:
    letters = f.function.rstrip("′ᵀ")
    name = f"<mi>{escape(letters)}</mi>" if letters else ""
    name = f"<msub>{name}<mn>{escape(f.note)}</mn></msub>" if f.note else name
    marks = f.function[len(letters) :].replace("ᵀ", "⊤")
    return f"<msup>{_row(name)}{_operator(marks)}</msup>" if marks else name


def _cases(f: Cases) -> str:
    rows = [(write(f.yes), f"<mtext>if&#160;</mtext>{write(f.condition)}"), (write(f.no), "<mtext>else</mtext>")]
    left = '<mtd style="text-align: left">'
    table = "".join(f"<mtr>{left}{a}</mtd>{left}{b}</mtd></mtr>" for a, b in rows)
    return _row(_bracket("{"), f"<mtable>{table}</mtable>")
