"""What somebody's `backward` returned, read as one gradient for each input: tuples, lists and dicts under the names
that people use, and updated parameters, from whose change the gradient follows.
"""

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.check.derivatives.asking import RATES, Binding, InputError, Question, name_of, parameters_of, split
from chainrule.graph import tree

Array = np.ndarray[Any, Any]

PREFIXES = (
    "", "d", "d_", "grad_", "grad", "g_", "g", "D", "delta_", "dL_d", "dLd", "dL_", "dJ_d", "dJ", "dloss_d", "dl_d",
    "dE_d", "nabla_", "partial_", "gradient_", "d_loss_d_",
)  # fmt: skip
SUFFIXES = ("_grad", "_g", "_gradient", "grad", "_d", ".grad", "_bar", "_delta")
LOSS = re.compile(r"((total|data|mean|avg|batch)_?)?(loss|cost|error|objective)|nll|mse|J|L|E")
UPDATE = re.compile(r"(^|_)(step|update|train|sgd|descent|descend|learn|optimi[sz]e)", re.I)


@dataclass
class Answer:
    """The gradients that a call of `backward` gave.

    Attributes
    ----------
    gradients : dict
        By the inputs' names.
    form : str
        In which shape they came, in words.
    rate : float or None
        For an update step, the learning rate that the change was divided by; None if it has to be estimated.
    update : bool
    notes : list of str
        What else was seen: results that belong to no input, inputs that were changed in place.
    lost : float
        The rounding error of gradients that were recovered from a change.
    """

    gradients: dict[str, Any]
    form: str
    rate: float | None = None
    update: bool = False
    notes: list[str] = field(default_factory=list)
    lost: dict[str, float] = field(default_factory=dict)


class Hand:
    """A hand-written derivative that can be asked for its gradients."""

    def __init__(
        self, question: Question, backward: Callable[..., Any], binding: Binding, rate: float | None = None
    ) -> None:
        self.question, self.backward, self.binding = question, backward, binding
        self.names: list[str] = []
        self.rate = rate if rate is not None else _default_rate(question, backward)

    def answer(self, leaves: Mapping[str, Any], cotangents: Sequence[Any]) -> Answer:
        """Call forward and backward once, on copies, and read what came back."""
        question = self.question
        arguments = question.copies(leaves)
        result = question.ask(arguments)
        outputs, cache = split(result, self.binding.outputs)
        changed = _changed(leaves, question.after(arguments))
        notes = _changes("forward", changed)
        given = {
            name: self._value(source, arguments, outputs, cache, cotangents)
            for name, source in self.binding.sources.items()
        }
        before = {name: _copied(leaf) for name, leaf in question.after(arguments).items()}
        returned = _call(self.backward, given)
        after = question.after(arguments)
        moved = _changed(before, after)
        answer = self._read(self._without_loss(returned, before, outputs), before, after, moved, outputs)
        if moved and not answer.update:
            notes += _changes("backward", moved)
        answer.notes = notes + answer.notes
        return answer

    def _value(
        self, source: tuple[str, Any], arguments: dict[str, Any], outputs: Any, cache: Any, cotangents: Sequence[Any]
    ) -> Any:
        kind, key = source
        if kind == "argument":
            return arguments[key]
        if kind == "leaf":
            return self.question.after(arguments)[key]
        if kind == "inputs":
            return arguments
        if kind == "gradient":
            e = cotangents[min(key, len(cotangents) - 1)]
            return e.copy() if isinstance(e, np.ndarray) else e
        if kind == "output":
            return outputs[min(key, len(outputs) - 1)]
        if kind == "rate":
            return 1.0 if self.rate is None else self.rate
        return cache if kind == "cache" else cache[key]

    def _read(
        self, returned: Any, before: dict[str, Any], after: dict[str, Any], moved: list[str], outputs: Any
    ) -> Answer:
        """The answer in what was returned, or in what was changed."""
        takes_rate = "rate" in self.binding.kinds
        if moved and (returned is None or _is_number(returned)):
            return self._from_change({name: (before[name], after[name]) for name in moved}, "changed in place")
        if returned is None:
            raise InputError(
                f"{name_of(self.backward)} returned None and changed nothing; expected the gradients, as a tuple, a "
                "list or a dict, or an update of the parameters."
            )
        found, unread = self._matched(returned, before)
        update = takes_rate or (UPDATE.search(name_of(self.backward)) and "gradient" not in self.binding.kinds)
        if update and _new_parameters(found, before):
            return self._from_change({name: (before[name], new) for name, new in found.items()}, "returned")
        kind = "dict" if isinstance(returned, dict) else type(returned).__name__
        many = isinstance(returned, (dict, tuple, list)) and (len(returned) > 1 or len(found) > 1)
        form = f"returns a {kind} of gradients" if many else "returns one gradient"
        return Answer(found, form, notes=unread)

    def from_update(self, answer: Answer, leaves: Mapping[str, Any]) -> Answer:
        """The same answer, if what came back were new parameters."""
        return self._from_change({name: (leaves[name], new) for name, new in answer.gradients.items()}, "returned")

    def _from_change(self, pairs: Mapping[str, tuple[Any, Any]], how: str) -> Answer:
        """The gradients from parameters before and after a step: (before - after) / rate."""
        rate = 1.0 if self.rate is None and "rate" in self.binding.kinds else self.rate
        gradients, lost = {}, {}
        for name, (old, new) in pairs.items():
            old = np.asarray(old, float)
            gradients[name] = (old - np.asarray(new, float)) / (rate or 1.0)
            digits = np.finfo(np.asarray(new).dtype if np.asarray(new).dtype.kind == "f" else float).eps
            lost[name] = float(digits * np.linalg.norm(old) / (rate or 1.0))
        form = f"is an update step whose new parameters are {how}"
        return Answer(gradients, form, rate=rate, update=True, lost=lost)

    def _without_loss(self, returned: Any, leaves: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
        """The gradients of `return loss, gradients`, of `return dW, loss` and so on.

        Keeps the names in the return statement of what is left.
        """
        self.names = returned_names(self.backward, len(returned) if _is_sequence(returned) else 1)
        if not _is_sequence(returned):
            return returned
        floats = {name: leaf for name, leaf in leaves.items() if is_float(leaf)}
        i = _place_of_loss(returned, self.names, floats, outputs)
        if i is None:
            return returned
        rest = [part for k, part in enumerate(returned) if k != i]
        self.names = [name for k, name in enumerate(self.names) if k != i]
        dicts = [part for part in rest if isinstance(part, dict)]
        if len(dicts) == 1 and all(self.names) and not match(self.names, [*floats]):
            return dicts[0]  # `return loss, grads, probs`
        return rest[0] if len(rest) == 1 else type(returned)(rest)

    def _matched(self, returned: Any, leaves: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """What was returned by the inputs' names, and sentences about what belongs to none."""
        floats = [name for name, leaf in leaves.items() if is_float(leaf)]
        numbers = isinstance(returned, (list, tuple)) and returned and all(map(_is_number, returned))
        if numbers and any(np.ndim(leaves[name]) for name in floats):
            returned = np.asarray(returned)  # one gradient as a list
        elif isinstance(returned, (list, tuple)) and not hasattr(returned, "_fields"):
            returned = [_from_list(part) for part in returned]
        entries = tree.flatten(returned)
        if isinstance(returned, dict) or hasattr(returned, "_fields"):
            keys = [*returned] if isinstance(returned, dict) else list(returned._fields)
            keys = keys if len(keys) == len(entries) else [key for key, _ in entries]
            found = match([str(key) for key in keys], floats)
            if not found:
                raise InputError(
                    f"the gradients are called {', '.join(map(str, keys))}, the inputs {', '.join(floats)}; expected "
                    "names such as 'W1', 'dW1', 'grad_W1' or 'W1_grad'."
                )
            gradients = {found[str(k)]: v for k, (_, v) in zip(keys, entries, strict=True) if str(k) in found}
            unread = [str(k) for k in keys if str(k) not in found]
            notes = [f"{', '.join(unread)} of what backward returns: no input has that name."] if unread else []
        else:
            values = [value for _, value in entries]
            grouped = self._in_groups(returned, {name: leaves[name] for name in floats})
            gradients, notes = grouped or self._in_order(values, leaves, floats), []
            if grouped and [*map(id, grouped.values())] != [*map(id, values)]:
                notes = ["the gradients come in another order than the inputs; names and shapes tell which is which."]
        arrays = {name: numeric(value) for name, value in gradients.items() if value is not None}
        notes += [
            f"a {type(gradients[name]).__name__} was returned for {name}, which is no array of numbers."
            for name, value in arrays.items()
            if value is None
        ]
        return {name: value for name, value in arrays.items() if value is not None}, notes

    def _in_groups(self, returned: Any, leaves: Mapping[str, Any]) -> dict[str, Any] | None:
        """The gradients by whole arguments, which may be lists of arrays: by their names, else by their shapes."""
        groups: dict[str, dict[str, Any]] = {}
        arguments = {name: argument for argument, names in self.question.of_argument.items() for name in names}
        for name, x in leaves.items():
            groups.setdefault(arguments.get(name) or re.sub(r"\[\d+\]$", "", name), {})[name] = x
        return in_groups(returned, self.names, groups)

    def _in_order(self, values: list[Any], leaves: dict[str, Any], floats: list[str]) -> dict[str, Any]:
        names = self.names if len(self.names) == len(values) else returned_names(self.backward, len(values))
        found = match(names, floats)
        if len(found) == len(values):
            return {found[name]: value for name, value in zip(names, values, strict=True)}
        if len(values) == len(leaves):
            return {n: v for n, v in zip(leaves, values, strict=True) if n in floats}
        if len(values) == 1 and (parts := _cut(values[0], [leaves[n] for n in floats])) is not None:
            values = parts
        if len(values) > len(floats):
            raise InputError(
                f"{name_of(self.backward)} returned {len(values)} arrays for {len(floats)} inputs of floats "
                f"({', '.join(floats)}); expected one for each, or a dict with their names."
            )
        known = {i: found[name] for i, name in enumerate(names) if name in found} if len(names) == len(values) else {}
        return dict(zip(_by_shape(values, {n: leaves[n] for n in floats}, known), values, strict=True))


def in_groups(returned: Any, names: Sequence[str], groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Gradients in groups, such as a list of those of all weights: by the groups' names, else by their shapes.

    None where neither tells which group is which.
    """
    if not _is_sequence(returned) or not 2 <= len(returned) <= len(groups):
        return None
    parts = [[value for _, value in tree.flatten(part)] for part in returned]
    shapes = [[shape_of(value) for value in part] for part in parts]
    fitting = [
        [group for group, leaves in groups.items() if [np.shape(x) for x in leaves.values()] == found]
        for found in shapes
    ]
    if not all(fitting):
        return None
    named = match(names, [*groups]) if len(names) == len(parts) else {}
    chosen = tuple(named.get(name, "") for name in names)
    if len(named) < len(parts) or any(group not in fits for group, fits in zip(chosen, fitting, strict=True)):
        orders = itertools.islice(itertools.product(*fitting), 1000)
        unique = [order for order in orders if len(set(order)) == len(order)]
        if len(unique) != 1:
            return None
        chosen = unique[0]
    pairs = [zip(groups[group], part, strict=True) for group, part in zip(chosen, parts, strict=True)]
    found = {name: value for pair in pairs for name, value in pair}
    return {name: found[name] for leaves in groups.values() for name in leaves if name in found}


def match(keys: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """For each key such as `dW1`, `grad_W1` or `W1_grad` the name that it is made of."""
    found: dict[str, str] = {}
    for simple in (str, _simplified, _abbreviated):
        forms: dict[str, str] = {}
        for spelling in (("",), PREFIXES[1:]):
            for name, prefix in itertools.product(names, spelling):
                forms.setdefault(simple(prefix + name), name)
        for name, suffix in itertools.product(names, SUFFIXES):
            forms.setdefault(simple(name + suffix), name)
        for key in keys:
            name = forms.get(simple(key), "")
            if key and key not in found and name and name not in found.values():
                found[key] = name
    return found


def _simplified(key: str) -> str:
    return key.replace("_", "").replace(".", "").lower()


def _abbreviated(key: str) -> str:
    """`nabla_w` is the gradient of `weights`."""
    return re.sub(r"bias(es)?", "b", re.sub(r"weights?", "w", _simplified(key)))


def returned_names(f: Callable[..., Any], count: int) -> list[str]:
    """The names in `return dx, dW, db`, read off the function's source; empty strings where there are none."""
    try:
        source = ast.parse(textwrap.dedent(inspect.getsource(f)))
    except (OSError, TypeError, SyntaxError):
        return [""] * count
    for node in ast.walk(source):
        if isinstance(node, ast.Return) and node.value is not None:
            parts = node.value.elts if isinstance(node.value, (ast.Tuple, ast.List)) else [node.value]
            if len(parts) == count:
                return [
                    p.id if isinstance(p, ast.Name) else p.attr if isinstance(p, ast.Attribute) else "" for p in parts
                ]
    return [""] * count


def is_float(x: Any) -> bool:
    """Whether a derivative can be taken with respect to a leaf."""
    return isinstance(x, float) or (isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind == "f")


def numeric(x: Any) -> Array | None:
    """A gradient as an array of real numbers, None if it is none."""
    try:
        array = np.array(x)  # a copy: the code may write into its arrays in a later call
    except Exception:  # an object of somebody's own
        return None
    if array.dtype.kind == "c":
        return np.asarray(array.real)
    return array if array.dtype.kind in "fiub" else None


def _from_list(part: Any) -> Any:
    """A gradient that was made a list by `.tolist()` as an array again."""
    if not isinstance(part, list):
        return part
    flat = part
    while flat and all(isinstance(inner, list) for inner in flat):
        flat = [x for inner in flat for x in inner]
    return np.asarray(part) if flat and all(isinstance(x, (int, float)) for x in flat) else part


def _is_sequence(returned: Any) -> bool:
    return isinstance(returned, (tuple, list)) and not hasattr(returned, "_fields")


def _place_of_loss(
    parts: Sequence[Any], names: Sequence[str], floats: Mapping[str, Any], outputs: Sequence[Any]
) -> int | None:
    """Which of the things that were returned is the loss: the first, the last, or None."""
    if len(parts) < 2 or (all(map(_is_number, parts)) and any(np.shape(x) == (len(parts),) for x in floats.values())):
        return None
    shapes = [np.shape(x) for x in floats.values()]
    fit = len(parts) == len(shapes) and all(shape_of(g) == shape for g, shape in zip(parts, shapes, strict=True))
    if len(parts) == 2 and not fit and any(isinstance(part, (dict, tuple, list)) for part in parts):
        return next((i for i, part in enumerate(parts) if _is_number(part)), None)
    for i in (0, len(parts) - 1):
        value = numeric(parts[i]) if isinstance(parts[i], (int, float, np.generic, np.ndarray)) else None
        if value is None or value.size != 1 or match([names[i]], [*floats]):
            continue
        surplus = len(parts) == len(shapes) + 1 and value.ndim == 0 and shapes[min(i, len(shapes) - 1)]
        if LOSS.fullmatch(names[i]) or (not fit and (surplus or _is_value(value, outputs))):
            return i
    return None


def _is_value(value: Array, outputs: Sequence[Any]) -> bool:
    """Whether a number is what `forward` returned; at 0 a gradient may well be the same."""
    if len(outputs) != 1 or np.size(outputs[0]) != 1:
        return False
    y = np.asarray(outputs[0], float).item()
    return bool(y != 0 and abs(value.item() - y) <= 1e-5 * abs(y))


def shape_of(x: Any) -> tuple[int, ...] | None:
    """The shape of an array; None if it is none, such as a list of arrays of several shapes."""
    array = numeric(x)
    return None if array is None else array.shape


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) or (isinstance(x, (np.ndarray, np.generic)) and x.ndim == 0)


def _call(f: Callable[..., Any], given: dict[str, Any]) -> Any:
    """Call with the parameters in their order, and by name after one that is left to its default."""
    parameters = parameters_of(f)
    names = [p.name for p in parameters or []]
    if [p.kind for p in parameters or []] == [inspect.Parameter.VAR_KEYWORD]:
        return f(**given)
    if parameters is None or any(name not in names for name in given):
        return f(*given.values())
    positional: list[Any] = []
    for p in parameters:
        if p.name not in given or p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            break
        positional.append(given[p.name])
    return f(*positional, **{name: given[name] for name in names[len(positional) :] if name in given})


def _default_rate(question: Question, backward: Callable[..., Any]) -> float | None:
    for p in parameters_of(backward) or []:
        if p.name.lower() in RATES and isinstance(p.default, (int, float)):
            return float(p.default)
    for name, leaf in question.leaves.items():
        if name.lower() in RATES and np.ndim(leaf) == 0:
            return float(leaf)
    return None


def _new_parameters(found: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    return all(np.shape(new) == np.shape(before[name]) for name, new in found.items())


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [
        name
        for name, x in after.items()
        if isinstance(x, np.ndarray)
        and name in before
        and not np.array_equal(x, before[name], equal_nan=x.dtype.kind in "fc")
    ]


def _changes(what: str, names: list[str]) -> list[str]:
    return [f"{what} changes {', '.join(names)} in place; it was given copies."] if names else []


def _copied(x: Any) -> Any:
    return x.copy() if isinstance(x, np.ndarray) else x


def _cut(value: Any, leaves: Sequence[Any]) -> list[Any] | None:
    """All gradients from one long vector, if it is one."""
    sizes = [np.size(x) for x in leaves]
    if np.ndim(value) != 1 or len(leaves) < 2 or np.size(value) != sum(sizes) or np.size(value) in sizes:
        return None
    parts = np.split(np.asarray(value), np.cumsum(sizes)[:-1])
    return [part.reshape(np.shape(x)) for part, x in zip(parts, leaves, strict=True)]


def _by_shape(values: Sequence[Any], leaves: Mapping[str, Any], known: Mapping[int, str]) -> tuple[str, ...]:
    """The inputs, in their order, that these gradients fit best; `known` has those that the source names.

    Where shapes do not say: inputs that follow each other; of several gradients the later ones, after the data; of a
    single one the first.
    """
    place = {name: i for i, name in enumerate(leaves)}

    def fit(names: tuple[str, ...]) -> tuple[int, int, int]:
        pairs = [(np.shape(v), np.shape(leaves[n])) for v, n in zip(values, names, strict=True) if v is not None]
        named = sum(names[i] == name for i, name in known.items())
        shapes = sum(2 * (a == b) + int(np.prod(a) == np.prod(b)) for a, b in pairs)
        return named, shapes, place[names[0]] - place[names[-1]]

    orders = list(itertools.islice(itertools.combinations(leaves, len(values)), 20000))
    return max(orders if len(values) == 1 else reversed(orders), key=fit)
