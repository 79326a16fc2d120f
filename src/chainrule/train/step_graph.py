"""A whole step of training as one graph: forward, backward, clipping, and the optimiser's formula."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.engine import Tensor, value_and_grad
from chainrule.graph import Graph, Variable, trace
from chainrule.graph.simplification import simplify
from chainrule.graph.tracing import NamedFunction
from chainrule.nn.losses import Loss
from chainrule.nn.module import Module
from chainrule.nn.structure import NotRecordableError as NotRecordableError
from chainrule.optim import Optimizer
from chainrule.optim.clip import clipped

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Roles:
    """What the inputs and outputs of a step's graph are. Output 0 is the loss.

    Attributes
    ----------
    tensors : dict of int to Tensor
        The model's parameters and statistics, by the index of their input.
    memory : dict of int to ndarray
        The optimiser's arrays, by the index of their input.
    numbers : dict of str to int
        The inputs of `Optimizer.numbers`.
    key : int or None
        The input of the random key, if the step draws random numbers.
    x, t : int
        The inputs of the batch.
    replaces : dict of int to int
        By the index of an output, that of the input whose new value it is.
    stepped : tuple of int
        Which of the optimiser's parameters are changed, by their place in it.
    """

    tensors: dict[int, Tensor]
    memory: dict[int, Array]
    numbers: dict[str, int]
    key: int | None
    x: int
    t: int
    replaces: dict[int, int]
    stepped: tuple[int, ...]

    def arguments(self, numbers: Mapping[str, float], key: Any, x: Array, t: Array) -> list[Array]:
        """The inputs of the next step: the arrays of the tensors and of the memory, and what is given here.

        Parameters
        ----------
        numbers : dict of str to float
            Those that `optimizer.numbers` gives for this step.
        key : int or None
        x, t : array

        Returns
        -------
        list of ndarray
            Those whose new values the step computes may be written to, as by `Plan(graph, into=roles.replaces)`.
        """
        written = set(self.replaces.values())
        given: dict[int, Any] = {i: p.writable() if i in written else p.value for i, p in self.tensors.items()}
        given |= self.memory | {self.x: x, self.t: t}
        dtype = next(iter(self.tensors.values())).dtype
        given |= {i: np.asarray(numbers[name], dtype) for name, i in self.numbers.items()}
        if self.key is not None:
            given[self.key] = np.asarray(key, np.int64)
        return [given[i] for i in range(len(given))]


def step_graph(
    model: Module,
    loss: Loss,
    optimizer: Optimizer,
    x: Any,
    t: Any,
    clip_norm: float | None = None,
    clip_value: float | None = None,
) -> tuple[Graph, Roles]:
    """What `Trainer.step` computes, as one graph for batches of every size.

    Parameters
    ----------
    model : Module
        As it is: in training mode, layers such as Dropout are recorded so.
    loss : Loss
    optimizer : Optimizer
        Of the model's parameters. Those that it does not have are not changed.
    x, t : array
        A batch; only shapes and dtypes matter, and axis 0 becomes symbolic.
    clip_norm, clip_value : float, optional
        As for the `Trainer`.

    Returns
    -------
    Graph
        Inputs are the model's parameters and statistics (named as by `Module.as_function`), the optimiser's memory
        (`velocity_W1`), its numbers (`lr`), the random `key` if there is one, `x` and `t`. Outputs are the loss, and
        the new values.
    Roles

    Raises
    ------
    NotRecordableError
        If the step cannot be one graph.
    """
    try:
        with _unchanged(model, loss):
            return _Step(model, loss, optimizer, clip_norm, clip_value).record(x, t)
    except NotRecordableError:
        raise
    except Exception as error:  # whatever code of a person's own does with values that are not known
        raise NotRecordableError(f"{type(error).__name__}: {error}") from error


class _Step:
    """A training step while it is recorded."""

    def __init__(
        self, model: Module, loss: Loss, optimizer: Optimizer, clip_norm: float | None, clip_value: float | None
    ) -> None:
        self.loss, self.optimizer, self.clip_norm, self.clip_value = loss, optimizer, clip_norm, clip_value
        self.model, self.tensors = model.as_function(statistics=True, changes=True)
        self.names = {id(p): name for name, p in self.tensors.items()}
        if any(id(p) not in self.names for p in optimizer.parameters):
            raise NotRecordableError("the optimizer has parameters that are not the model's.")

    def record(self, x: Any, t: Any) -> tuple[Graph, Roles]:
        keys = dict(zip(["key"], self.model.keys, strict=False))
        stepped = self._stepped(keys, x, t)
        learnt = {self._name(i): i for i in stepped}
        dtypes = {self.tensors[name].dtype for name in learnt}
        if len(dtypes) > 1:
            raise NotRecordableError(f"the parameters are of different dtypes: {', '.join(map(str, dtypes))}.")
        memory = {
            f"{kind}_{name}": array for name, i in learnt.items() for kind, array in self.optimizer.memory[i].items()
        }
        numbers = dict.fromkeys(self.optimizer.numbers(1), np.zeros((), *dtypes))
        replaced: list[str] = []

        def step(tensors: Any, memory: Any, numbers: Any, *rest: Any) -> list[Any]:
            value, gradients, statistics = self._backward(tensors, learnt, *rest)
            news: dict[str, Any] = dict(statistics)
            for name, g in gradients.items():
                kinds = self.optimizer.memory[learnt[name]]
                old = {kind: memory[f"{kind}_{name}"] for kind in kinds}
                news[name], new = self.optimizer.formula(tensors[name], g, old, numbers)
                news.update({f"{kind}_{name}": new[kind] for kind in kinds})
            replaced.extend(news)
            return [value, *news.values()]

        names = ["tensors", "memory", "numbers", *keys, "x", "t"]
        f = NamedFunction(step, "training_step", names)
        graph = trace(f, self.tensors, memory, numbers, *keys.values(), x, t, batch={"x": 0, "t": 0})
        graph = _without_unused_key(simplify(graph)) if keys else simplify(graph)
        return graph, self._roles(graph, memory, numbers, replaced, stepped)

    def _name(self, i: int) -> str:
        return self.names[id(self.optimizer.parameters[i])]

    def _stepped(self, keys: Mapping[str, Any], x: Any, t: Any) -> tuple[int, ...]:
        """The optimiser's parameters that get a gradient: from them the loss comes about by ops that have one."""

        def forward(tensors: Any, *rest: Any) -> Any:
            return self._loss(tensors, *rest)[0]

        f = NamedFunction(forward, "loss", ["tensors", *keys, "x", "t"])
        graph = trace(f, self.tensors, *keys.values(), x, t, batch={"x": 0, "t": 0})
        if not graph.single or graph.outputs[0].shape != ():
            raise NotRecordableError(f"the loss must be one number, of shape (); {self.loss!r} gave something else.")
        reached = set(graph.outputs)
        for e in reversed(graph.equations):
            if e.output in reached and not e.op.no_gradient:
                reached.update(v for v in e.inputs if isinstance(v, Variable))
        names = {v.name for v in graph.inputs if v in reached}
        parameters = enumerate(self.optimizer.parameters)
        return tuple(i for i, p in parameters if p.requires_grad and self._name(i) in names)

    def _loss(self, tensors: Any, *rest: Any) -> tuple[Any, dict[str, Any]]:
        """The loss, and the statistics that the forward pass changes."""
        *inputs, t = rest
        outputs, statistics = self.model(tensors, *inputs)
        return self.loss(outputs, t), statistics

    def _backward(self, tensors: Any, learnt: Any, *rest: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """The loss, the gradients after clipping, and the statistics."""
        statistics: dict[str, Any] = {}

        def of_learnt(chosen: Any) -> Any:
            value, changed = self._loss({**tensors, **chosen}, *rest)
            statistics.update(changed)
            return value

        value, gradients = value_and_grad(of_learnt)({name: tensors[name] for name in learnt})
        found = clipped(list(gradients.values()), self.clip_norm, self.clip_value)
        return value, dict(zip(gradients, found, strict=True)), statistics

    def _roles(
        self,
        graph: Graph,
        memory: Mapping[str, Array],
        numbers: Mapping[str, Any],
        replaced: list[str],
        stepped: tuple[int, ...],
    ) -> Roles:
        at = {v.name: i for i, v in enumerate(graph.inputs)}
        return Roles(
            tensors={at[name]: p for name, p in self.tensors.items()},
            memory={at[name]: array for name, array in memory.items()},
            numbers={name: at[name] for name in numbers},
            key=at.get("key"),
            x=at["x"],
            t=at["t"],
            replaces={1 + k: at[name] for k, name in enumerate(replaced)},
            stepped=stepped,
        )


def _without_unused_key(graph: Graph) -> Graph:
    """The graph without the input `key`, if nothing is drawn from it, as by Dropout with p = 0."""
    used = {v for e in graph.equations for v in e.inputs if isinstance(v, Variable)}
    inputs = tuple(v for v in graph.inputs if v.name != "key" or v in used)
    return replace(graph, inputs=inputs, form=graph.form if len(inputs) == len(graph.inputs) else None)


@contextmanager
def _unchanged(model: Module, loss: Loss) -> Iterator[None]:
    """Refuse a forward pass that sets attributes: a graph would not do it again. They are put back."""
    parts = [*(m for _, m in model.named_modules()), loss]
    before = [(part, dict(vars(part))) for part in parts]
    versions = [p.version for p in model.tensors()]
    try:
        yield
    finally:
        changed = ""
        for part, attributes in before:
            now = vars(part)
            different = [k for k in {**now, **attributes} if now.get(k, now) is not attributes.get(k, attributes)]
            if different:
                changed = f"{type(part).__name__} sets its attribute '{different[0]}' when it is called"
                now.clear()
                now.update(attributes)
    if changed or [p.version for p in model.tensors()] != versions:
        raise NotRecordableError(f"{changed or 'the forward pass assigns a tensor'}, which a graph would not do.")
