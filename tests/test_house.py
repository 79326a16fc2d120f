"""The house stands as docs/design.md draws it: a part uses what stands below it, never what stands above."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "chainrule"
# From the ground up.
ORDER = [
    *("errors", "scalar", "ops", "graph", "engine", "compiler", "nn", "optim", "data", "train"),
    *("written", "check", "lab", "benchmarks", "cli"),
]
FILES = sorted(SOURCE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported_parts(path: Path) -> set[str]:
    """The parts that a file imports, at its top or inside a function; `import chainrule` itself is everybody's."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("chainrule.")} & set(ORDER)


def test_every_part_has_its_floor():
    parts = {part_of(path) for path in FILES} - {"__init__", "__main__"}
    assert parts == set(ORDER)


@pytest.mark.parametrize("path", [f for f in FILES if part_of(f) in ORDER], ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_part_uses_only_what_stands_below_it(path):
    floor = ORDER.index(part_of(path))
    above = {part for part in imported_parts(path) if ORDER.index(part) > floor}
    assert not above, f"{path.relative_to(SOURCE)} uses {above}, which stands above it"


def test_no_module_is_longer_than_450_lines():
    lengths = {str(p.relative_to(SOURCE)): len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
    assert not {name: n for name, n in lengths.items() if n > 450}
