"""`longhand`: a function, a model with its loss, or a whole training step as the NumPy program that a careful person
would have written by hand, backward pass and all. The program runs, with NumPy alone.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, TraceError, UnknownNameError
from chainrule.graph import tree
from chainrule.graph.derivative import derive
from chainrule.graph.graph import Equation, Graph, Variable
from chainrule.graph.recognition import recognize
from chainrule.graph.simplification import simplify
from chainrule.graph.tracing import NamedFunction, parameter_names, trace
from chainrule.ops.dims import show
from chainrule.written.expansion import expand
from chainrule.written.expressions import STATEMENTS, expression, literal, statements
from chainrule.written.forms import Spread
from chainrule.written.naming import Lines, Names, note
from chainrule.written.updates import Update, clipped, update_of

WIDTH = 100
FORMATS = ("numpy", "latex", "html")


class Longhand(str):
    """A program or a derivation as text; in a notebook it shows itself."""

    __slots__ = ("kind",)
    kind: str

    def __new__(cls, text: str, format: str = "numpy") -> "Longhand":
        self = super().__new__(cls, text)
        self.kind = format
        return self

    def _repr_html_(self) -> str | None:
        from html import escape

        if self.kind == "latex":
            return None
        return str(self) if self.kind == "html" else f"<pre>{escape(self)}</pre>"

    def _repr_latex_(self) -> str | None:
        return str(self) if self.kind == "latex" else None

    def __repr__(self) -> str:
        return str(self)


def longhand(
    f: Any,
    *args: Any,
    argnums: int | Sequence[int] | None = 0,
    batch: Mapping[str, int] | None = None,
    loss: Callable[..., Any] | None = None,
    update: str | None = None,
    format: str = "numpy",
) -> Longhand:
    """What `f` computes and its derivative, written out as somebody would do it by hand.

    Parameters
    ----------
    f : callable, Module or Trainer
        A function of NumPy's functions and chainrule's that returns a number; a model, given its loss; or a Trainer,
        which brings its loss and its optimiser's update.
    *args
        Arguments as for a call; of a model or a Trainer, its inputs and the targets. Only shapes and dtypes matter.
    argnums : int, sequence of int or None
        With respect to which arguments of a function the derivative is taken; None: the forward pass alone. For a model
        it is always that by its parameters.
    batch : dict of str to int, optional
        Which axis of which argument is the batch, as for `trace`. For a model, axis 0 of each input.
    loss : callable, optional
        loss(outputs, targets), for a model: the last argument is then the targets.
    update : {"sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"}, optional
        Appends the optimiser's step.
    format : {"numpy", "latex", "html"}
        Code; or the same as mathematics, each line with the rule that it comes from.

    Returns
    -------
    Longhand
        A str. The function in the code returns `(loss, gradients)`, the gradients as `argnums` has them; with an update
        `(loss, new_parameters, new_state)`. It writes into none of its arguments.

    Raises
    ------
    TraceError
        For what cannot be recorded or written, with the user's line and what to write instead.
    """
    if format not in FORMATS:
        raise UnknownNameError("format of a longhand", format, FORMATS)
    subject = _Subject.of(f, args, loss, argnums, batch, update)
    graph = subject.graph()
    if format != "numpy":
        from chainrule.written.mathematics import derivation

        return Longhand(getattr(derivation, format)(graph, subject.update), format)
    return Longhand(_Program(graph, subject).text())


class _Subject:
    """What is to be written: a function with named arguments, and what is derived by and returned."""

    def __init__(
        self,
        f: Callable[..., Any],
        names: Sequence[str],
        args: Sequence[Any],
        wrt: Sequence[int] | int | None,
        batch: Mapping[str, int] | None,
        update: Update | None,
        layers: bool,
    ) -> None:
        self.f, self.names, self.args, self.wrt, self.batch = f, list(names), list(args), wrt, batch
        self.update, self.layers = update, layers
        self.untouched: list[str] = []  # what a model's training changes besides, and the program does not
        name = getattr(f, "__name__", "f")
        self.title = "step" if update or layers else name if name.isidentifier() else "f"
        if layers and wrt is None:
            self.title = "forward"

    @classmethod
    def of(cls, f: Any, args: Sequence[Any], loss: Any, argnums: Any, batch: Any, update: str | None) -> "_Subject":
        rule = update_of(update)
        if hasattr(f, "optimizer") and hasattr(f, "model"):
            rule = clipped(update_of(f.optimizer) if rule is None else rule, f)
            held = {id(p) for p in f.optimizer.parameters}
            return cls._of_model(f.model, args, f.loss, batch, rule, held)
        if hasattr(f, "as_function"):
            return cls._of_model(f, args, loss, batch, rule)
        if not callable(f):
            raise ChainruleError(f"longhand: {f!r:.60} is no function, model or Trainer.")
        if loss is not None:
            raise ChainruleError("longhand: a loss goes with a model; a function returns its loss itself.")
        names = parameter_names(f, len(args))
        if not isinstance(argnums, (int, list, tuple, range, type(None))):
            raise ChainruleError(f"longhand: argnums is {argnums!r}; expected the number of an argument, or several.")
        if isinstance(argnums, int):
            argnums = argnums % len(args) if -len(args) <= argnums < 0 else argnums
        elif argnums is not None:
            argnums = [i % len(args) if -len(args) <= i < 0 else i for i in argnums]
        for i in [argnums] if isinstance(argnums, int) else argnums or ():
            if not 0 <= i < len(args):
                raise ChainruleError(f"longhand: argnums names argument {i}, but {len(args)} arguments were given.")
        if rule is not None and argnums is None:
            raise ChainruleError("longhand: an update needs a derivative; argnums is None.")
        return cls(f, names, args, argnums, batch, rule, layers=False)

    @classmethod
    def _of_model(
        cls, model: Any, args: Sequence[Any], loss: Any, batch: Any, rule: Any, held: set[int] | None = None
    ) -> "_Subject":
        evaluated = any(not module.training for _, module in model.named_modules())
        pure, parameters = model.as_function(statistics=evaluated)  # in training, the batch has its own statistics
        keys = list(pure.keys)
        if len(args) < (1 if loss is None else 2):
            raise ChainruleError("longhand: a model needs example inputs, and with a loss the targets as the last one.")
        inputs = args if loss is None else args[:-1]
        try:
            inspect.signature(model.forward).bind(*inputs)
        except TypeError as error:
            hint = "" if loss is not None else "; if the last one is the targets, give the loss too"
            raise ChainruleError(
                f"longhand: {type(model).__name__} cannot be called with {len(inputs)} inputs ({error}){hint}."
            ) from None
        data = ["x"] if len(inputs) == 1 else [f"x{i + 1}" for i in range(len(inputs))]
        data = [*data, *([] if loss is None else ["t"])]
        names = [*data, *(["key"] if keys else []), *parameters]

        def f(*all: Any) -> Any:
            given, rest = all[: len(data)], all[len(data) :]
            drawn, rest = rest[: len(keys)], rest[len(keys) :]
            xs = given if loss is None else given[:-1]
            y = pure(dict(zip(parameters, rest, strict=True)), *drawn, *xs)
            return y if loss is None else loss(y, given[-1])

        values = [np.asarray(x) if not hasattr(x, "shape") else x for x in args]
        learnt = [
            i
            for i, name in enumerate(names)
            if getattr(p := parameters.get(name), "requires_grad", False) and (held is None or id(p) in held)
        ]
        wrt = None if loss is None else learnt
        batch = dict.fromkeys(data, 0) if batch is None else batch
        subject = cls(
            NamedFunction(f, "network", names),
            names,
            [*values, *keys, *parameters.values()],
            wrt,
            batch,
            rule,
            layers=True,
        )
        if loss is not None and not evaluated:
            subject.untouched = [name for name in model.as_function(statistics=True)[1] if name not in parameters]
        return subject

    def graph(self) -> Graph:
        """The forward pass and its derivative, simplified."""

        forward = simplify(recognize(simplify(trace(self.f, *self.args, batch=self.batch))))
        if self.wrt is None:
            return forward
        return simplify(derive(forward, [v.name for i in self.chosen for v in self.leaves(forward, i)]))

    @property
    def chosen(self) -> list[int]:
        """The arguments by which is derived."""
        return [self.wrt] if isinstance(self.wrt, int) else list(self.wrt or ())

    def leaves(self, graph: Graph, i: int) -> Sequence[Variable]:
        """The graph's inputs that come from argument i."""
        counts = [len(tree.flatten(arg)) for arg in self.args]
        start = sum(counts[:i])
        return graph.inputs[start : start + counts[i]]


class _Program:
    """Writes the lines."""

    def __init__(self, graph: Graph, subject: _Subject) -> None:
        self.subject = subject
        self.graph, hints = expand(graph)
        self.lines = Lines(self.graph, hints, subject.layers)
        reserved = [*(subject.update.given if subject.update else ())]
        reserved += ["i", "j"] if any(e.op is Spread for e in self.graph.equations) else []
        self._refuse(subject.names, (*reserved, "np", "math"))
        self.plain = {
            subject.leaves(self.graph, i)[0]: name
            for i, (name, arg) in enumerate(zip(subject.names, subject.args, strict=True))
            if not isinstance(arg, (dict, list, tuple))
        }
        containers = [name for name in subject.names if name not in self.plain.values()]
        self.names = Names(self.lines, [*reserved, *containers], self.plain)
        if subject.update is not None:
            learnt = [self.names.of[v] for i in subject.chosen for v in subject.leaves(self.graph, i)]
            self._refuse(learnt, subject.update.assigned)
        self.body: list[tuple[str, str, str]] = []  # code, shape, note; a heading has its text as code alone
        self.constants = {v: self._constant(v, array) for v, array in self.graph.constants.items()}

    @staticmethod
    def _refuse(names: Sequence[str], taken: Sequence[str]) -> None:
        for name in names:
            if name in taken:
                raise TraceError(
                    f"longhand: the argument '{name}' has a name that the program needs for something else; rename it."
                )

    def text(self) -> str:
        section = ""
        for e in self.graph.equations:
            if e.output not in self.lines.own:
                continue
            now = "backward" if e.rule else "forward"
            if now != section and self.subject.wrt is not None:
                self.body.append((f"# {now}", "", ""))
            section = now
            self._write(e)
        if self.subject.untouched:
            self.body.append((f"# {', '.join(self.subject.untouched)}: left as they are", "", ""))
        returned = self._returned()
        self._prologue()
        lines = [*self._laid_out(), *_wrapped(f"    return {returned}")]
        imports = ["import numpy as np"]
        if any("math.erf" in line for line in lines):
            imports.insert(0, "import math\n")
        if any("sliding_window_view" in line for line in lines):
            imports.append("from numpy.lib.stride_tricks import sliding_window_view")
        head = _wrapped(f"def {self.subject.title}({', '.join(self._arguments())}):")
        return "\n".join([*imports, "", "", *head, *lines]) + "\n"

    def _arguments(self) -> list[str]:
        update = self.subject.update
        return [*self.subject.names, *(update.arguments if update else ())]

    def _prologue(self) -> None:
        """What comes first: the batch size, and the parts of containers."""
        lines = []
        for i, (name, arg) in enumerate(zip(self.subject.names, self.subject.args, strict=True)):
            if isinstance(arg, (dict, list, tuple)):
                parts = _places(arg, name)
                inner = [self.names.of[v] for v in self.subject.leaves(self.graph, i)]
                if parts:
                    lines.append((f"{', '.join(inner)} = {', '.join(parts)}", "", ""))
        written = " ".join(code for code, _, _ in self.body)
        for size, (v, axis) in self.graph.sizes.items():
            if re.search(rf"\b{size}\b", written):
                lines.append((f"{size} = {self.names.of[v]}.shape[{axis}]", "", ""))
        self.body[:0] = lines

    def _write(self, e: Equation) -> None:
        name = self.names.of[e.output]
        said = note(self.lines, e)
        if e.op in STATEMENTS:
            for line in statements(e, name, self._text):
                first, explained = line.startswith(f"{name} = "), "for " if e.op is Spread else f"{name} = "
                shape, beside = show(e.output.shape) if first else "", said if line.startswith(explained) else ""
                self.body.append((line, shape, beside))
        else:
            self.body.append((f"{name} = {expression(e, self._text)}", show(e.output.shape), said))

    def _text(self, v: Variable) -> str:
        if v in self.names.of:
            return self.names.of[v]
        if v in self.constants:
            return self.constants[v]
        return expression(self.lines.made[v], self._text)

    def _constant(self, v: Variable, array: np.ndarray[Any, Any]) -> str:
        text = literal(array)
        if text is None:
            user = next((e.origin for e in self.graph.equations if v in e.inputs), self.subject.title)
            raise TraceError(
                f"{user}: {self.subject.title} uses an array of shape {show(array.shape)} from outside, which is too "
                "long to be written into the program; make it an argument of the function."
            )
        return text

    def _returned(self) -> str:
        names = [self._text(v) for v in self.graph.outputs]
        subject = self.subject
        if subject.wrt is None:
            return names[0] if self.graph.single else f"({', '.join(names)}{',' * (len(names) == 1)})"
        value, *gradients = names
        chosen = subject.chosen
        leaves = [self.names.of[v] for i in chosen for v in subject.leaves(self.graph, i)]
        if subject.update is not None:
            return f"{value}, {self._updated(chosen, leaves, gradients)}"
        rest = iter(gradients)
        parts = [_container(tree.map_leaves(lambda _: next(rest), subject.args[i])) for i in chosen]
        if isinstance(subject.wrt, int):
            return f"{value}, {parts[0]}"
        return f"{value}, ({', '.join(parts)}{',' * (len(parts) == 1)})"

    def _updated(self, chosen: Sequence[int], leaves: Sequence[str], gradients: Sequence[str]) -> str:
        update = self.subject.update
        assert update is not None
        self.body.append((f"# update: {update.title}", "", ""))
        for line in update.lines(leaves, gradients):
            self.body.append((line, "", ""))
        rest = iter(leaves)
        parts = [_container(tree.map_leaves(lambda _: next(rest), self.subject.args[i])) for i in chosen]
        whole = parts[0] if isinstance(self.subject.wrt, int) else f"({', '.join(parts)}{',' * (len(parts) == 1)})"
        return f"{whole}, {update.state}"

    def _laid_out(self) -> list[str]:
        """The lines with shapes and notes at their ends, none longer than WIDTH."""
        codes = [len(code) for code, shape, _ in self.body if shape and len(code) <= 50]
        width = max(codes, default=0)
        shapes = max((len(shape) for code, shape, _ in self.body if len(code) <= 50), default=0)
        lines: list[str] = []
        for code, shape, said in self.body:
            comment = f"# {shape:<{shapes}}   {said}".rstrip() if shape else f"# {said}" if said else ""
            line = f"    {code:<{width}}  {comment}".rstrip() if shape else f"    {code}  {comment}".rstrip()
            if len(line) > WIDTH:
                line = f"    {code}  # {shape}   {said}".rstrip()
            if len(line) > WIDTH:
                lines += [f"    # {said}"] if said else []
                line = f"    {code:<{width}}  # {shape}".rstrip()
            if len(line) > WIDTH:
                lines.extend(_wrapped(f"    {code}"))
                if shape and len(lines[-1]) + len(shape) + 4 <= WIDTH:
                    lines[-1] += f"  # {shape}"
            else:
                lines.append(line)
        return lines


def _places(arg: Any, text: str) -> list[str]:
    """How each leaf of a container is reached: `params["W1"]`, `layers[0][1]`."""
    if isinstance(arg, dict):
        return [place for key, part in arg.items() for place in _places(part, f"{text}[{_quoted(key)}]")]
    if isinstance(arg, (list, tuple)):
        return [place for i, part in enumerate(arg) for place in _places(part, f"{text}[{i}]")]
    return [text]


def _container(names: Any) -> str:
    """A container of names as code."""
    if isinstance(names, dict):
        return "{" + ", ".join(f"{_quoted(key)}: {_container(part)}" for key, part in names.items()) + "}"
    if isinstance(names, (list, tuple)):
        parts = ", ".join(map(_container, names))
        return f"[{parts}]" if isinstance(names, list) else f"({parts}{',' * (len(names) == 1)})"
    return str(names)


def _quoted(key: Any) -> str:
    text = repr(key)
    return f'"{key}"' if isinstance(key, str) and '"' not in text and "\\" not in text else text


def _enclosed(text: str) -> bool:
    """Whether one pair of brackets goes around the whole text."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if depth == 0:
            return i == len(text) - 1 and i > 0
    return False


def _wrapped(line: str) -> list[str]:
    """A line broken at spaces into lines of at most WIDTH; brackets go around it if there are none."""
    if len(line) <= WIDTH:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    keyword_end = re.match(r"\s*(return |[\w, ]+ = )", line)
    if keyword_end and not line.lstrip().startswith("def ") and not _enclosed(line[keyword_end.end() :]):
        line = f"{keyword_end.group()}({line[keyword_end.end() :]})"
    head, loop, tail = line.partition(" for ")
    if loop and head.count("[") == head.count("]") + 1 and max(len(head), len(indent) + len(loop + tail) + 3) <= WIDTH:
        return [head, f"{indent}    for {tail}"]
    lines: list[str] = []
    current = ""
    for word in line.strip().split(" "):
        limit = WIDTH - len(indent) - (4 if lines else 0)
        if current and len(current) + 1 + len(word) > limit:
            lines.append(current)
            current = word
        else:
            current = f"{current} {word}" if current else word
    lines.append(current)
    return [indent + ("    " if i else "") + part for i, part in enumerate(lines)]
