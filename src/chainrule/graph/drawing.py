"""A graph as a picture: the forward pass runs down on the left, the backward pass up on the right, rule beside op.

The layout is a small layered one: an op stands one row below the lowest op that it uses, a line of the backward pass in
the row of the op whose rule it comes from, and within a row nodes stand in the order of what they use.
"""

import re
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from chainrule.ops.dims import show

if TYPE_CHECKING:
    from chainrule.graph.graph import Equation, Graph, Variable

FOLDED = {"reshape", "broadcast_to", "cast", "transpose", "stop_gradient"}  # drawn as part of what uses them
LEAF, FORWARD, BACKWARD, RESULT = range(4)  # the bands, from left to right
HEIGHT, ROW, GAP, MARGIN, CHARACTER = 40, 62, 30, 20, 6.7  # in pixels
LONGEST = 34  # characters of a label; the whole text is in the tooltip

STYLE = """
svg.chainrule { --ink: #1f2937; --pale: #6b7280; --input: #f3f4f6; --parameter: #dcfce7; --forward: #dbeafe;
  --backward: #ffedd5; --blue: #2563eb; --orange: #ea580c; --green: #15803d; }
@media (prefers-color-scheme: dark) {
  svg.chainrule { --ink: #e5e7eb; --pale: #9ca3af; --input: #374151; --parameter: #14532d; --forward: #1e3a8a;
    --backward: #7c2d12; --blue: #60a5fa; --orange: #fb923c; --green: #4ade80; }
}
svg.chainrule text { font: 11.5px ui-monospace, Menlo, Consolas, monospace; fill: var(--ink); }
svg.chainrule .small { font-size: 10px; fill: var(--pale); }
svg.chainrule path { fill: none; stroke: #9ca3af; stroke-width: 1.2; }
svg.chainrule rect { fill: var(--input); stroke: #9ca3af; stroke-width: 1.2; }
svg.chainrule rect.parameter { fill: var(--parameter); stroke: var(--green); }
svg.chainrule rect.forward { fill: var(--forward); stroke: var(--blue); }
svg.chainrule rect.backward { fill: var(--backward); stroke: var(--orange); }
svg.chainrule rect.output { stroke-width: 2.6; }
svg.chainrule path.forward { stroke: var(--blue); }
svg.chainrule path.backward { stroke: var(--orange); }
svg.chainrule path.saved { stroke-dasharray: 3 3; stroke-width: 1; }
svg.chainrule path.head { fill: #9ca3af; stroke: none; }
svg.chainrule path.head.forward { fill: var(--blue); }
svg.chainrule path.head.backward { fill: var(--orange); }
"""


@dataclass(eq=False)
class Node:
    """A box: what it says, what it uses, and where it stands."""

    label: str
    shape: str
    kind: str  # the classes of its style
    band: int
    tip: str = ""
    uses: list["Node"] = field(default_factory=list)
    row: int = 0
    x: float = 0.0
    y: float = 0.0


class Picture:
    """The nodes of one graph, placed."""

    def __init__(self, graph: "Graph") -> None:
        self.graph = graph
        self.names = {v.name for v in (*graph.inputs, *(e.output for e in graph.equations))}
        self.made = {e.output: e for e in graph.equations}
        self.users: dict[Variable, list[Equation]] = {}
        for e in graph.equations:
            for v in _variables(e):
                self.users.setdefault(v, []).append(e)
        self.nodes: dict[Variable, Node] = {}
        for v in (*graph.inputs, *(c for c, array in graph.constants.items() if array.size > 1)):
            self.nodes[v] = Node(v.name, show(v.shape), self._leaf_kind(v), LEAF, repr(v))
        for e in graph.equations:
            if not self._folded(e):
                self._add(e)
        self._rows()
        self.width = self._place()

    def _leaf_kind(self, v: "Variable") -> str:
        derived = any(e.rule for e in self.graph.equations)
        results = {self._gradient_of(out) for out in self.graph.outputs}
        fixed = v.dtype.kind == "f" and all(isinstance(n, int) for n in v.shape)
        return "parameter" if v in self.graph.inputs and (v.name in results if derived else fixed) else "input"

    def _gradient_of(self, v: "Variable") -> str:
        """The name of the variable whose gradient this is, or ""."""
        for name in (v.name.removeprefix("d_"), v.name.removeprefix("d")):
            if name != v.name and name in self.names:
                return name
        return ""

    def _folded(self, e: "Equation") -> bool:
        """Whether an equation is drawn as part of what uses it: the same numbers, or a mask or label used at once."""
        if e.output in self.graph.outputs:
            return False
        if e.op.name in FOLDED or _takes_all(e):
            return True
        used = self.users.get(e.output, [])
        first = not any(self.made[v].rule for v in _variables(e) if v in self.made)
        return bool(e.rule) and first and len(used) == 1 and used[0].rule == e.rule

    def _sources(self, e: "Equation") -> list["Node"]:
        """The nodes that an equation uses, through what is folded into it."""
        found: list[Node] = []
        for v in _variables(e):
            if v in self.nodes:
                found.append(self.nodes[v])
            elif v in self.made:
                found += self._sources(self.made[v])
        return list(dict.fromkeys(found))

    def _add(self, e: "Equation") -> None:
        output = e.output in self.graph.outputs
        band = FORWARD if not e.rule else RESULT if output else BACKWARD
        kind = ("backward" if e.rule else "forward") + (" output" if output else "")
        text = f"{e.output.name} = {self._text(e)}"
        tip = f"{e!r}\n{e.op.rule if not e.rule else f'from the rule of {e.rule}'}\n{e.origin}".rstrip()
        self.nodes[e.output] = Node(text, show(e.output.shape), kind, band, tip, self._sources(e))

    def _text(self, e: "Equation") -> str:
        """The op as code with names, folded parts written out: `d_a2 @ W2.T`."""
        parts = [self._operand(x) for x in e.inputs]
        names = re.findall(r"\{(\w+)\}", e.op.code)
        if "np." not in e.op.code and len(dict.fromkeys(names)) == len(parts):
            brackets = [f"({p})" if " " in p else p for p in parts]
            return e.op.code.format_map(dict(zip(dict.fromkeys(names), brackets, strict=True)))
        name = "sum" if e.op.name == "sum_to" else e.op.name
        return f"{name}({', '.join(parts)})"

    def _operand(self, x: Any) -> str:
        if not hasattr(x, "name"):
            return str(x)
        if x in self.graph.constants and self.graph.constants[x].size == 1:
            return f"{self.graph.constants[x].item():g}"
        if x in self.nodes or x not in self.made:
            return str(x.name)
        e = self.made[x]
        if e.op.name == "transpose":
            inner = self._operand(e.inputs[0])
            return inner[:-2] if inner.endswith(".T") else f"({inner}).T" if " " in inner else f"{inner}.T"
        return self._operand(e.inputs[0]) if e.op.name in FOLDED or _takes_all(e) else self._text(e)

    def _rows(self) -> None:
        """Forward ops by longest path, leaves beside their first user, backward lines beside the op they come from."""
        for e in self.graph.equations:
            node = self.nodes.get(e.output)
            if node and node.band == FORWARD:
                node.row = max((u.row + 1 for u in node.uses if u.band == FORWARD), default=0)
        for e in reversed(self.graph.equations):
            if (node := self.nodes.get(e.output)) and node.band != FORWARD:
                node.row = self._beside(e)
        for leaf in (n for n in self.nodes.values() if n.band == LEAF):
            leaf.row = min((n.row for n in self.nodes.values() if leaf in n.uses), default=0)

    def _beside(self, e: "Equation") -> int:
        target = self._gradient_of(e.output)
        for v, users in self.users.items():
            if v.name == target:
                rows = [self.nodes[u.output].row for u in users if u.op.name == e.rule and u.output in self.nodes]
                if rows:
                    return max(rows)
        below = [n.row for n in self.nodes.values() if self.nodes[e.output] in n.uses]
        return max(below, default=0)

    def _place(self) -> float:
        """Give every node its coordinates; returns the width of the whole."""
        y = float(MARGIN + 30)
        slots: dict[tuple[int, float], list[Node]] = {}
        for row in range(max((n.row for n in self.nodes.values()), default=0) + 1):
            here = [n for n in self.nodes.values() if n.row == row]
            depth = _depths([n for n in here if n.band == BACKWARD])
            used = [u for n in here for u in n.uses if u in here and u.band == LEAF]
            leaves = list(dict.fromkeys(used)) + [n for n in here if n.band == LEAF and n not in used]
            stacks = {LEAF: leaves, RESULT: [n for n in here if n.band == RESULT]}
            height = max(1, *map(len, stacks.values()), 1 + max(depth.values(), default=0))
            for n in here:
                place = (height - 1) / 2 if n.band == FORWARD else height - 1 - depth.get(n, 0)
                n.y = y + ROW * (stacks[n.band].index(n) if n.band in stacks else place)
                slots.setdefault((n.band, n.y), []).append(n)
            y += ROW * height
        self.height = y + MARGIN
        left = float(MARGIN)
        for band in range(4):
            lines = [slots[key] for key in sorted(slots) if key[0] == band]
            columns = max(map(len, lines), default=0)
            cell = max((_width(n) for line in lines for n in line), default=0) + GAP
            for line in lines:
                line.sort(key=lambda n: sum(u.x for u in n.uses) / max(1, len(n.uses)))
                for i, n in enumerate(line):
                    n.x = left + (columns - len(line)) * cell / 2 + (i + 0.5) * cell
            left += columns * cell + (GAP if lines else 0)
        return left + MARGIN - GAP

    def svg(self) -> str:
        """The text of the picture."""
        nodes = list(self.nodes.values())
        edges = [_edge(u, n, nodes) for n in nodes for u in n.uses]
        if self.graph.outputs and (loss := self.nodes.get(self.graph.outputs[0])):
            starts = [n for n in nodes if n.band >= BACKWARD and all(u.band < BACKWARD for u in n.uses)]
            lowest = max((n.y for n in starts), default=0)
            edges += [_edge(loss, n, nodes, "backward") for n in starts if n.y == lowest and loss not in n.uses]
        width = max(self.width, 420)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chainrule" width="{width:.0f}" '
            f'height="{self.height:.0f}" viewBox="0 0 {width:.0f} {self.height:.0f}" role="img">'
            f"<title>{escape(self.graph.name)}</title><style>{STYLE}</style>"
        )
        legend = _legend({n.kind.split()[0] for n in nodes})
        return "\n".join([head, *legend, *edges, *map(_box, nodes), "</svg>"])


def svg(graph: "Graph") -> str:
    """The graph as the text of an SVG picture that needs nothing else."""
    return Picture(graph).svg()


def _variables(e: "Equation") -> list[Any]:
    return [x for x in e.inputs if hasattr(x, "name")]


def _takes_all(e: "Equation") -> bool:
    """Whether this is an index such as [:, :], which takes everything."""
    return e.op.name == "getitem" and all(part == slice(None) for part in e.attributes["index"])


def _depths(nodes: list[Node]) -> dict[Node, int]:
    """For the nodes of one row, in order: how many of the row lie before each on the longest way to it."""
    depth: dict[Node, int] = {}
    for n in nodes:
        depth[n] = max((depth[u] + 1 for u in n.uses if u in depth), default=0)
    return depth


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _width(n: Node) -> float:
    return max(len(_short(n.label)), len(n.shape) * 0.9, 5) * CHARACTER + 18


def _box(n: Node) -> str:
    w, radius = _width(n), HEIGHT / 2 if n.band == LEAF else 5
    return (
        f'<g><title>{escape(n.tip)}</title><rect class="{n.kind}" x="{n.x - w / 2:.1f}" y="{n.y - HEIGHT / 2:.1f}" '
        f'width="{w:.1f}" height="{HEIGHT}" rx="{radius}"/><text x="{n.x:.1f}" y="{n.y - 3:.1f}" text-anchor="middle">'
        f'{escape(_short(n.label))}</text><text class="small" x="{n.x:.1f}" y="{n.y + 12:.1f}" text-anchor="middle">'
        f"{escape(n.shape)}</text></g>"
    )


def _in_the_way(a: Node, b: Node, n: Node) -> bool:
    """Whether a straight line from a to b would run behind n, which stands in their band."""
    part = (n.y - a.y) / (b.y - a.y) if b.y != a.y else 0
    return n.band == a.band and 0 < part < 1 and abs(a.x + part * (b.x - a.x) - n.x) < _width(n) / 2


def _edge(a: Node, b: Node, others: list[Node], kind: str = "") -> str:
    """An arrow: along its own band up or down, around what stands in the way; into another band from the left."""
    down, up = a.band == b.band == FORWARD, a.band == BACKWARD == b.band
    kind = kind or ("backward" if a.band >= BACKWARD else "forward" if b.band == FORWARD else "saved")
    if down or up:
        s = 1 if down else -1
        x1, y1, x2, y2 = a.x, a.y + s * HEIGHT / 2, b.x, b.y - s * HEIGHT / 2
        bow = max([_width(n) for n in others if _in_the_way(a, b, n)], default=0) * (-0.9 if x1 < x2 else 0.9)
        bend = max(20.0, abs(y2 - y1) / 2)
        path = f"C{x1 + bow:.1f} {y1 + s * bend:.1f} {x2 + bow:.1f} {y2 - s * bend:.1f} {x2:.1f} {y2 - s * 6:.1f}"
        head = f"M{x2:.1f} {y2:.1f}l-4 {-7 * s}h8z"
    else:
        x1, y1, x2, y2 = a.x + _width(a) / 2, a.y, b.x - _width(b) / 2, b.y
        bend = max(20.0, (x2 - x1) / 2)
        sag = 0.7 * ROW if b.band - a.band > 1 else 0  # below the boxes in between
        path = f"C{x1 + bend:.1f} {y1 + sag:.1f} {x2 - bend:.1f} {y2 + sag:.1f} {x2 - 6:.1f} {y2:.1f}"
        head = f"M{x2:.1f} {y2:.1f}l-7 -4v8z"
    return f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}{path}"/><path class="head {kind}" d="{head}"/>'


def _legend(kinds: set[str]) -> list[str]:
    parts, x = [], float(MARGIN)
    for kind in ("input", "parameter", "forward", "backward"):
        if kind in kinds:
            parts.append(f'<rect class="{kind}" x="{x:.1f}" y="10" width="14" height="14" rx="3"/>')
            parts.append(f'<text class="small" x="{x + 20:.1f}" y="21">{kind}</text>')
            x += 34 + len(kind) * 7
    if "backward" in kinds:
        parts.append(f'<path class="saved" d="M{x:.1f} 17h24"/>')
        parts.append(f'<text class="small" x="{x + 30:.1f}" y="21">used again by the backward pass</text>')
    return parts
