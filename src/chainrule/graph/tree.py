"""Nested tuples, lists and dicts of arrays, as functions take and return them: flattened to a list and built again."""

from collections.abc import Callable
from typing import Any

Leaf = tuple[str, Any]  # a name and a value


def flatten(tree: Any, name: str = "") -> list[Leaf]:
    """The leaves of nested containers in order, each with a name made of the keys that lead to it."""
    if isinstance(tree, dict):
        items = [(_key(name, key), value) for key, value in tree.items()]
    elif isinstance(tree, (tuple, list)):
        items = [(f"{name}{i}", value) for i, value in enumerate(tree)]
    else:
        return [(name, tree)]
    return [leaf for key, value in items for leaf in flatten(value, key)]


def rebuild(tree: Any, leaves: list[Any]) -> Any:
    """A tree of the same form as `tree` with other leaves."""
    rest = iter(leaves)
    result = map_leaves(lambda _: next(rest), tree)
    if next(rest, rest) is not rest:
        raise ValueError("more leaves than places")
    return result


def map_leaves(f: Callable[[Any], Any], tree: Any) -> Any:
    """A tree of the same form with `f` applied to each leaf."""
    if isinstance(tree, dict):
        return {key: map_leaves(f, value) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(map_leaves(f, value) for value in tree)
    return f(tree)


def _key(name: str, key: Any) -> str:
    """A name for a dict's entry: its key if that can be a name (`W1`), else behind the dict's (`params_0_weight`)."""
    text = "".join(c if c.isalnum() or c == "_" else "_" for c in str(key))
    return text if text.isidentifier() else f"{name}_{text}"
