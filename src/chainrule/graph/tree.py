"""Nested tuples, lists and dicts of arrays, as functions take and return them: flattened to a list and built again."""

from collections.abc import Callable
from keyword import iskeyword
from typing import Any

from chainrule.errors import ShapeError

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
        items = [map_leaves(f, value) for value in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return f(tree)


def leaves_like(form: Any, tree: Any, what: str) -> list[Any]:
    """The leaves of `tree` in the order in which `form` has them; `what` is for the message if the two differ."""
    if isinstance(form, dict):
        if not isinstance(tree, dict) or tree.keys() != form.keys():
            found = f"the keys {', '.join(map(str, tree))}" if isinstance(tree, dict) else f"a {type(tree).__name__}"
            raise ShapeError(f"{what}: expected a dict with the keys {', '.join(map(str, form))}, found {found}.")
        return [leaf for key, part in form.items() for leaf in leaves_like(part, tree[key], what)]
    if isinstance(form, (tuple, list)):
        if not isinstance(tree, (tuple, list)) or len(tree) != len(form):
            found = f"{len(tree)}" if isinstance(tree, (tuple, list)) else f"a {type(tree).__name__}"
            raise ShapeError(f"{what}: expected a {type(form).__name__} of {len(form)}, found {found}.")
        return [leaf for part, given in zip(form, tree, strict=True) for leaf in leaves_like(part, given, what)]
    return [tree]


def _key(name: str, key: Any) -> str:
    """A name for a dict's entry: its key if that can be a name (`W1`), else behind the dict's (`params_0_weight`)."""
    text = "".join(c if f"_{c}".isidentifier() else "_" for c in str(key))
    return text if text.isidentifier() and not iskeyword(text) else f"{name}_{text}"
