"""The outcomes of a check as a page that needs nothing else, readable in light and in dark."""

from collections.abc import Sequence
from html import escape

from chainrule.check.outcomes import Outcome

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --text: #1d2126; --faint: #5d6670; --line: #dde1e6; --page: #fff;
  --right: #1a7f4b; --wrong: #c02425; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #e4e7eb; --faint: #9aa4af; --line: #353b43; --page: #16191d; --right: #4cc38a; --wrong: #ff7b72; }}
}}
body {{ margin: 0 auto; padding: 1.5rem; max-width: 56rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif; }}
h1 {{ font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.15rem; margin: 2rem 0 .5rem; padding-top: .8rem; border-top: 1px solid var(--line); }}
h2 span {{ float: right; }}
.right {{ color: var(--right); }} .wrong {{ color: var(--wrong); }} .faint {{ color: var(--faint); }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1rem; margin: 0; }}
dt {{ font-weight: 600; }} dd {{ margin: 0; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>{title}</h1>
{sections}
</body>
</html>
"""


def write(title: str, outcomes: Sequence[Outcome]) -> str:
    """All outcomes as HTML."""
    return PAGE.format(title=escape(title), sections="\n".join(map(_section, outcomes)))


def _section(outcome: Outcome) -> str:
    kind = "right" if outcome.right else "wrong"
    rows = "\n".join(f'<dt class="{_colour(what)}">{what}</dt><dd>{escape(text)}</dd>' for what, text in outcome.lines)
    heading = f'{escape(outcome.title)} <span class="{kind}">{escape(outcome.verdict)}</span>'
    return f"<section>\n<h2>{heading}</h2>\n<dl>\n{rows}\n</dl>\n</section>"


def _colour(what: str) -> str:
    return {"right": "right", "passed": "right", "checked": "faint", "skipped": "faint"}.get(what, "wrong")
