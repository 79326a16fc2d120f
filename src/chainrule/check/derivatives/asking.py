"""How somebody's `forward` and `backward` are to be called: their parameters are matched with the inputs by name, and
where names say nothing, by number.
"""

import copy
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.graph import tree
from chainrule.ops.op import Value

CACHES = {"cache", "caches", "ctx", "saved", "memory", "tape", "state", "states", "stored", "context", "intermediates"}
RATES = {"lr", "learning_rate", "eta", "alpha", "step_size", "rate"}
OUTPUTS = {"y", "out", "output", "outputs", "loss", "y_hat", "yhat", "y_pred", "pred", "prediction", "probs", "scores"}
COTANGENT = re.compile(
    r"_?(d|g|e|v|u|gy|grad|gradient|upstream|cotangent|delta|err|error|dl|seed)(_?[a-z]\w*)?\d*", re.I
)


class InputError(ChainruleError, ValueError):
    """Functions or inputs that do not fit together; the message says what was expected."""


def parameters_of(f: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """The parameters of a function, None where Python cannot say."""
    try:
        return list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        return None


def name_of(f: Any) -> str:
    """What to call a function in a sentence."""
    return str(getattr(f, "__name__", type(f).__name__))


class Question:
    """`forward` with its inputs: which arrays there are, what they are called, and how to call it with others.

    Parameters
    ----------
    forward : callable
    inputs : array, tuple, list or dict
        As `check.backward` takes them.

    Attributes
    ----------
    arguments : dict
        What `forward` is called with, by the names of its parameters; nested containers of leaves.
    leaves : dict
        Every array (or other thing) in the arguments, by name.
    """

    def __init__(self, forward: Callable[..., Any], inputs: Any) -> None:
        self.forward = forward
        self.by_keyword = False
        self.arguments = self._arguments(inputs)
        self.leaves: dict[str, Any] = {}
        self.of_argument: dict[str, list[str]] = {}
        for argument, value in self.arguments.items():
            self.of_argument[argument] = []
            for name, leaf in tree.flatten(value, argument):
                unique = name if name not in self.leaves else f"{argument}_{name}"
                self.leaves[unique] = leaf
                self.of_argument[argument].append(unique)

    def _arguments(self, inputs: Any) -> dict[str, Any]:
        parameters = parameters_of(self.forward)
        if isinstance(inputs, Mapping):
            given = {key: _plain(value) for key, value in inputs.items()}
            named = all(isinstance(key, str) for key in given)
            if named and (parameters is None or _binds(self.forward, (), given)):
                self.by_keyword = True
                return given
            if parameters is None or _binds(self.forward, (given,), {}):
                return {_positional(parameters, 1)[0]: given}
            values: tuple[Any, ...] = tuple(given.values())
        else:
            values = tuple(map(_plain, inputs)) if isinstance(inputs, (tuple, list)) else (_plain(inputs),)
        if parameters is not None and not _binds(self.forward, values, {}):
            names = ", ".join(p.name for p in parameters)
            raise InputError(
                f"{name_of(self.forward)}({names}) cannot be called with {len(values)} inputs; expected one for each "
                "parameter, as a tuple in their order or as a dict with their names."
            )
        return dict(zip(_positional(parameters, len(values)), values, strict=True))

    def copies(self, leaves: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments with other leaves, all of them copies."""
        result = {}
        for argument, form in self.arguments.items():
            result[argument] = tree.rebuild(form, [own(leaves[name]) for name in self.of_argument[argument]])
        return result

    def ask(self, arguments: dict[str, Any]) -> Any:
        """What `forward` returns."""
        try:
            return self.forward(**arguments) if self.by_keyword else self.forward(*arguments.values())
        except Exception as error:
            if not inspect.isbuiltin(self.forward):
                raise
            reason = re.sub(r"^[^:]*, line \d+: ", "", str(error)).rstrip(".")  # which is not in C
            names = ", ".join(self.arguments)
            raise InputError(f"{name_of(self.forward)}({names}) cannot be computed here: {reason}.") from error

    def seen(self, through: Any, arguments: dict[str, Any]) -> Any:
        """What `forward` returns if its functions are copied by `through.function`."""
        forward = through.function(self.forward)
        return forward(**arguments) if self.by_keyword else forward(*arguments.values())

    def after(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The leaves of arguments that have been used, by name."""
        found: dict[str, Any] = {}
        for argument, value in arguments.items():
            leaves = [leaf for _, leaf in tree.flatten(value)]
            if len(leaves) == len(self.of_argument[argument]):  # else somebody put something into a dict
                found.update(zip(self.of_argument[argument], leaves, strict=True))
        return found


def split(result: Any, outputs: int = 1) -> tuple[tuple[Any, ...], Any]:
    """What a `forward` returned as its outputs (a loss or arrays) and its cache (None if there is none)."""
    if isinstance(result, (tuple, list)) and len(result) and not isinstance(result[0], (tuple, list, dict)):
        outputs = min(outputs, len(result))
        rest = tuple(result[outputs:])
        return tuple(result[:outputs]), rest[0] if len(rest) == 1 else (rest or None)
    if isinstance(result, dict):
        for key in ("loss", "out", "output", "y"):
            if key in result:
                return (result[key],), result
    return (result,), None


@dataclass
class Binding:
    """One way to call `backward`.

    Attributes
    ----------
    sources : dict
        For each of its parameters where its value comes from: `("argument", name)`, `("leaf", name)`, `("cache", "")`,
        `("entry", key)`, `("gradient", i)`, `("output", i)`, `("rate", "")`, `("inputs", "")`.
    outputs : int
        How many outputs of `forward` have a gradient among the parameters.
    """

    sources: dict[str, tuple[str, Any]] = field(default_factory=dict)
    outputs: int = 1

    @property
    def kinds(self) -> set[str]:
        """The kinds of the sources."""
        return {kind for kind, _ in self.sources.values()}

    def sentence(self) -> str:
        """What `backward` takes, in words."""
        words = {
            "argument": "the inputs",
            "leaf": "the inputs",
            "inputs": "the inputs",
            "cache": "the cache",
            "entry": "the cache",
            "gradient": "the gradient of the output",
            "output": "the output",
            "rate": "the learning rate",
        }
        found = list(dict.fromkeys(words[kind] for kind, _ in self.sources.values()))
        return " and ".join(found) if found else "no arguments"


def bindings(question: Question, backward: Callable[..., Any], cache: Any) -> list[Binding]:
    """The ways in which `backward` can be meant to be called, the likeliest first.

    Raises
    ------
    InputError
        If there is none.
    """
    parameters = parameters_of(backward)
    if parameters is None or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return _of_any_number(question, parameters or [], cache)
    if [p.kind for p in parameters] == [inspect.Parameter.VAR_KEYWORD]:
        return [Binding({name: ("argument", name) for name in question.arguments})]
    parameters = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    named, rest = Binding(outputs=0), []
    for p in parameters:
        source = _by_name(question, p.name, cache, named.outputs)
        if source is None and p.default is p.empty:
            rest.append(p.name)
        elif source is not None and not (p.default is not p.empty and source[0] in ("output", "gradient")):
            named.sources[p.name] = source
            named.outputs += source[0] == "gradient"
    named.outputs = max(named.outputs, 1)
    required = [p.name for p in parameters if p.default is p.empty]
    found = [named] if not rest else _completed(question, named, rest, cache)
    weak = bool({"gradient", "output"} & named.kinds) and not {"argument", "leaf", "cache"} & named.kinds
    if not found or weak:
        found += [b for b in _by_number(question, required, cache) if b.sources not in [f.sources for f in found]]
    if not found:
        names, inputs = ", ".join(required), ", ".join(question.arguments)
        raise InputError(
            f"it is not clear how to call {name_of(backward)}({names}): expected a function of the inputs ({inputs}), "
            "of the cache that forward returns beside its result, or of the output's gradient and one of the two. "
            "Name its parameters as those of forward, or 'cache', or 'dout'."
        )
    return found


def _by_name(question: Question, name: str, cache: Any, outputs: int) -> tuple[str, Any] | None:
    if name in question.arguments:
        return "argument", name
    if name in question.leaves:
        return "leaf", name
    if name.lower() in CACHES and cache is not None:
        return "cache", ""
    if isinstance(cache, dict) and name in cache:
        return "entry", name
    if name.lower() in RATES:
        return "rate", ""
    if name in ("inputs", "params", "parameters", "p") and len(question.arguments) > 1 and question.by_keyword:
        return "inputs", ""
    if name.lower() in OUTPUTS:
        return "output", 0
    if COTANGENT.fullmatch(name):
        return "gradient", outputs
    return None


def _completed(question: Question, named: Binding, rest: list[str], cache: Any) -> list[Binding]:
    """Names that say nothing are the inputs that are not mentioned yet, in their order, or the cache."""
    used = {key for kind, key in named.sources.values() if kind == "argument"}
    free = [name for name in question.arguments if name not in used]
    order = {}
    if len(rest) == len(free):
        order = dict(zip(rest, [("argument", name) for name in free], strict=True))
    elif len(rest) == 1 and cache is not None and "cache" not in named.kinds:
        order = {rest[0]: ("cache", "")}
    return [Binding({**named.sources, **order}, named.outputs)] if order else []


def _by_number(question: Question, names: list[str], cache: Any) -> list[Binding]:
    """What the number of parameters alone allows."""
    inputs: list[tuple[str, Any]] = [("argument", name) for name in question.arguments]
    n, m = len(inputs), len(names)
    gradient, output = ("gradient", 0), ("output", 0)
    orders: list[list[tuple[str, Any]]] = []
    if cache is not None and m == 2:
        orders.append([gradient, ("cache", "")])
    if cache is not None and m == 1:
        orders.append([("cache", "")])
    if m == n:
        orders.append(inputs)
    if m == n + 1:
        orders += [[*inputs, gradient], [gradient, *inputs]]
    if m == n + 2:
        orders += [[gradient, output, *inputs], [gradient, *inputs, output], [*inputs, output, gradient]]
    if m == 1 and n != 1:
        orders.append([("inputs", "")])
    return [Binding(dict(zip(names, order, strict=True))) for order in orders]


def _of_any_number(question: Question, parameters: list[inspect.Parameter], cache: Any) -> list[Binding]:
    """What `backward(*args)` may be meant to take, the likeliest first."""
    n = len(question.arguments)
    names = [f"x{i}" for i in range(n + 1)]
    plain, beside = (_by_number(question, names[:m], None) for m in (n, n + 1))
    cached = [b for m in (2, 1) for b in _by_number(question, names[:m], cache) if "cache" in b.kinds]
    spread = {f"x{i + 1}": ("entry", i) for i in range(len(cache))} if isinstance(cache, (tuple, list)) else {}
    if spread:
        cached.append(Binding({"x0": ("gradient", 0), **spread}))
    first = parameters[0].name if parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL else ""
    taken = first and first not in question.arguments and COTANGENT.fullmatch(first)
    return [*cached, *beside, *plain] if taken else [*plain, *cached, *beside]


def _binds(f: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> bool:
    try:
        inspect.signature(f).bind(*args, **options)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


def _positional(parameters: list[inspect.Parameter] | None, count: int) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters or [] if p.kind in kinds][:count]
    return [*names, *(f"x{i}" for i in range(len(names), count))]


def own(x: Any) -> Any:
    """A copy of a leaf."""
    if isinstance(x, np.ndarray):
        return x.copy()
    if isinstance(x, (Value, int, float, complex, str, np.generic)) or x is None:
        return x
    try:
        return copy.deepcopy(x)
    except Exception:  # a thing that cannot be copied is handed on
        return x


def _plain(x: Any) -> Any:
    """Lists of numbers as arrays, so that they are one input and not many."""
    if isinstance(x, (list, tuple)) and x and _numbers(x):
        return np.asarray(x)
    if isinstance(x, (list, tuple)):
        return type(x)(map(_plain, x)) if not hasattr(x, "_fields") else x
    return {key: _plain(value) for key, value in x.items()} if isinstance(x, dict) else x


def _numbers(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return all(map(_numbers, x))
    return isinstance(x, (int, float, np.generic))
