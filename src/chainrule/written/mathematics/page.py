"""A derivation as HTML: a fragment that needs nothing else, readable in light and in dark."""

from collections.abc import Sequence
from html import escape

from chainrule.written.mathematics.formula import Formula
from chainrule.written.mathematics.mathml import equation, write

STYLE = """
.chainrule-derivation { color-scheme: light dark; font: 16px/1.5 Georgia, "Times New Roman", serif; max-width: 62rem;
  color: light-dark(#1f2937, #e5e7eb); margin: 0;
  background: light-dark(#ffffff, #111827); padding: 1rem; overflow-x: auto; }
.chainrule-derivation table tr th { padding: 1.6rem 0 .4rem .2rem; text-align: left; }
.chainrule-derivation th::before { content: ""; border-left: 4px solid; padding-right: .6rem; }
.chainrule-derivation th.forward::before { border-color: light-dark(#2563eb, #60a5fa); }
.chainrule-derivation th.backward::before { border-color: light-dark(#ea580c, #fb923c); }
.chainrule-derivation th.update::before { border-color: light-dark(#15803d, #4ade80); }
.chainrule-derivation table { border-collapse: collapse; color: inherit; font: inherit; }
.chainrule-derivation td { padding: .35rem .25rem; vertical-align: baseline; border: 0; background: none; }
.chainrule-derivation td:first-child { text-align: right; padding-left: .9rem; white-space: nowrap; }
.chainrule-derivation td:last-child { padding-left: 2.5rem; font-size: .85rem;
  color: light-dark(#6b7280, #9ca3af); text-align: left; }
.chainrule-derivation td.formula { text-align: left; white-space: nowrap; }
.chainrule-derivation p { font-size: .85rem; color: light-dark(#6b7280, #9ca3af); margin: .2rem .9rem; }
.chainrule-derivation math { font-size: 1.1em; }
"""
SIGNS = {
    "⊙": "⊙ multiplies element by element; so do fractions, powers and functions of matrices.",
    '<mo stretchy="true" fence="true">[': "[ ] is 1 where the condition holds, else 0.",
    "<mi>conv</mi>": "conv⊤ is the gradient of a convolution by its images, with W below it that by its kernels.",
    "<mi>maxpool</mi>": "maxpool′⊤(g, x) puts g where x is largest in each window; maxpool′ takes what stands there.",
    "<mi>avgpool</mi>": "avgpool⊤ gives each element of a window an equal share.",
    "θ": "θ stands for each parameter.",
}
Row = tuple[Formula, str, Formula, str]  # the left side, the sign, the right side, the rule in words


def html(name: str, sections: Sequence[tuple[str, Sequence[Row]]], loss: Formula) -> str:
    """A derivation as HTML."""
    parts = [f'<meta charset="utf-8"><div class="chainrule-derivation"><style>{STYLE}</style>']
    parts.append(f"<strong>{escape(name.removesuffix('_and_gradients'))}</strong><table>")
    for title, rows in sections:
        parts += [f'<tr><th class="{title}" colspan="3">{title}</th></tr>', *map(_row, rows)]
    body = "\n".join([*parts, "</table>"])
    said = [escape(text) for sign, text in SIGNS.items() if sign in body]
    if "<mi>δ</mi>" in body:
        said.insert(
            0, f"δ with a subscript is the derivative of <math>{write(loss)}</math> by what the subscript names."
        )
    return "\n".join([body, *(f"<p>{text}</p>" for text in said), "</div>"]) + "\n"


def _row(row: Row) -> str:
    left, sign, right, rule = row
    a, b = equation(left, sign, right)
    return f'<tr><td>{a}</td><td class="formula">{b}</td><td>{escape(rule)}</td></tr>'
