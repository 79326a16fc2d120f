"""A derivation as HTML: a fragment that needs nothing else, readable in light and in dark."""

from collections.abc import Sequence
from html import escape

from chainrule.written.formula import Formula
from chainrule.written.mathml import equation

STYLE = """
.chainrule-derivation { color-scheme: light dark; font: 16px/1.5 Georgia, "Times New Roman", serif; max-width: 62rem;
  color: light-dark(#1f2937, #e5e7eb); margin: 1rem; overflow-x: auto; }
.chainrule-derivation h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; padding: .1rem .6rem; border-left: 4px solid; }
.chainrule-derivation h3.forward { border-color: light-dark(#2563eb, #60a5fa); }
.chainrule-derivation h3.backward { border-color: light-dark(#ea580c, #fb923c); }
.chainrule-derivation table { border-collapse: collapse; }
.chainrule-derivation td { padding: .35rem .25rem; vertical-align: baseline; border: 0; background: none; }
.chainrule-derivation td:first-child { text-align: right; padding-left: .9rem; white-space: nowrap; }
.chainrule-derivation td:last-child { padding-left: 2.5rem; font-size: .85rem;
  color: light-dark(#6b7280, #9ca3af); text-align: left; }
.chainrule-derivation td.formula { text-align: left; white-space: nowrap; }
.chainrule-derivation p { font-size: .85rem; color: light-dark(#6b7280, #9ca3af); margin: .2rem .9rem; }
.chainrule-derivation math { font-size: 1.1em; }
"""
BACKWARD = "δ with a subscript is the derivative of L by what the subscript names."
SIGNS = {
    "⊙": "⊙ multiplies element by element; so do fractions, powers and functions of matrices.",
    '<mo stretchy="true" fence="true">[': "[ ] is 1 where the condition holds, else 0.",
}


def html(name: str, lines: Sequence[tuple[Formula, Formula, str, bool]]) -> str:
    """Lines (left, right, rule, whether it is of the backward pass) as HTML."""
    parts = [f'<meta charset="utf-8"><div class="chainrule-derivation"><style>{STYLE}</style>']
    parts.append(f"<strong>{escape(name.removesuffix('_and_gradients'))}</strong>")
    for backward, title in ((False, "forward"), (True, "backward")):
        rows = [_row(left, right, rule) for left, right, rule, of in lines if of == backward]
        if rows:
            parts.append(f'<h3 class="{title}">{title}</h3><table>')
            parts += [*rows, "</table>"]
    body = "\n".join(parts)
    said = [text for sign, text in SIGNS.items() if sign in body]
    if any(backward for *_, backward in lines):
        said.insert(0, BACKWARD)
    return "\n".join([body, *(f"<p>{escape(text)}</p>" for text in said), "</div>"]) + "\n"


def _row(left: Formula, right: Formula, rule: str) -> str:
    a, b = equation(left, right)
    return f'<tr><td>{a}</td><td class="formula">{b}</td><td>{escape(rule)}</td></tr>'
