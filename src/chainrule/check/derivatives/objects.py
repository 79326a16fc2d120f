"""Derivatives that are methods: an object with parameters, a forward pass, and a backward pass that returns gradients,
keeps them in the object or changes the parameters.
"""

import copy
import inspect
import re
from collections.abc import Iterator, Mapping
from types import MethodType
from typing import Any

import numpy as np

from chainrule.check.derivatives.asking import InputError, Question, name_of, own
from chainrule.check.derivatives.reading import UPDATE, Answer, Hand, in_groups, is_float, shape_of
from chainrule.check.subjects.handwritten import METHODS, ZEROES
from chainrule.check.subjects.places import Place, gradient_places, matched_gradients, parameter_places


def methods_of(forward: Any, backward: Any, inputs: Any, loss: Any = None) -> tuple[Any, Any]:
    """The methods of an object that was given instead of them; `loss` is of its outputs and the last input."""
    if inspect.isroutine(forward) or not hasattr(forward, "__dict__") or isinstance(forward, type):
        return forward, backward
    count = len(inputs) if isinstance(inputs, (tuple, list, Mapping)) else 1
    losses = [m for name in METHODS["loss"] if callable(m := getattr(forward, name, None)) and _takes(m, count)]
    if loss is not None:
        methods = [m for name in METHODS["predict"] if inspect.ismethod(m := getattr(forward, name, None))]
        losses = [MethodType(_with_loss(m.__func__, loss), forward) for m in methods if _takes(m, count - 1)]
    if not losses:
        raise InputError(
            f"{type(forward).__name__} has no method such as loss or forward that takes the {count} inputs; pass the "
            "methods themselves, check.backward(net.forward, net.backward, inputs), or loss=, a function of the "
            "outputs and the targets."
        )
    if backward is None:
        names = [*METHODS["gradients"], *METHODS["update"]]
        backward = next((m for name in names if callable(m := getattr(forward, name, None))), None)
    if backward is None:
        raise InputError(f"{type(forward).__name__} has no method such as gradients, backward or update.")
    return losses[0], backward


def _with_loss(predict: Any, loss: Any) -> Any:
    def forward(self: Any, *inputs: Any) -> Any:
        return loss(predict(self, *inputs[:-1]), inputs[-1])

    return forward


def _takes(method: Any, count: int) -> bool:
    try:
        inspect.signature(method).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


def has_parameters(forward: Any) -> bool:
    """Whether a function is a method of an object that keeps parameters."""
    thing = getattr(forward, "__self__", None)
    if thing is None or inspect.ismodule(thing) or isinstance(thing, type):
        return False
    return bool(getattr(thing, "__dict__", None)) and bool(parameter_places(thing))


class MethodQuestion(Question):
    """A `Question` whose function is a method: the object's parameters are inputs too. The object is not changed."""

    def __init__(self, forward: Any, inputs: Any) -> None:
        super().__init__(forward, inputs)
        self.method = forward.__func__
        self.thing = copy.deepcopy(forward.__self__)
        self.names: dict[str, str] = {}
        self.places: dict[str, list[Place]] = {}
        places = parameter_places(self.thing)
        for name, (container, key) in places.items():
            unique = name if name not in self.leaves else f"parameter_{name}"
            self.names[name] = unique
            self.places[unique] = [*_holders(self.thing, container[key])] or [(container, key)]
            self.leaves[unique] = np.asarray(container[key], None if is_float(container[key]) else float)

    def copies(self, leaves: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().copies(leaves), "": {name: own(leaves[name]) for name in self.places}}

    def ask(self, arguments: dict[str, Any]) -> Any:
        self._place(arguments[""])
        return self._call(self.method.__get__(self.thing), arguments)

    def seen(self, through: Any, arguments: dict[str, Any]) -> Any:
        other = copy.copy(self)  # a recording leaves no arrays behind
        other.thing = copy.deepcopy(self.thing)
        other.places = {}
        current = parameter_places(other.thing)
        for name, unique in self.names.items():
            container, key = current[name]
            other.places[unique] = [*_holders(other.thing, container[key])]
        other._place(arguments[""])
        other.thing.__class__ = through.kind(type(other.thing))
        return self._call(through.function(self.method).__get__(other.thing), arguments)

    def _place(self, parameters: Mapping[str, Any]) -> None:
        """Give the object other parameters, wherever it holds them."""
        for name, value in parameters.items():
            for container, key in self.places[name]:
                container[key] = value.tolist() if isinstance(container[key], list) else value

    def _call(self, method: Any, arguments: dict[str, Any]) -> Any:
        given = {name: value for name, value in arguments.items() if name}
        return method(**given) if self.by_keyword else method(*given.values())

    def after(self, arguments: dict[str, Any]) -> dict[str, Any]:
        found = super().after({name: value for name, value in arguments.items() if name})
        current = parameter_places(self.thing)
        for name, unique in self.names.items():
            if name in current:
                container, key = current[name]
                found[unique] = np.asarray(container[key])
        return found


class MethodHand(Hand):
    """A hand-written derivative that is a method of the object whose forward pass a `MethodQuestion` calls."""

    question: MethodQuestion

    def answer(self, leaves: Mapping[str, Any], cotangents: Any) -> Answer:
        if inspect.ismethod(self.backward):
            self.backward = self.backward.__func__.__get__(self.question.thing)
        for name in ZEROES:  # gradients that are added up are those of one call
            if callable(zero := getattr(self.question.thing, name, None)) and _takes(zero, 0):
                zero()
        return super().answer(leaves, cotangents)

    def _read(
        self, returned: Any, before: dict[str, Any], after: dict[str, Any], moved: list[str], outputs: Any
    ) -> Answer:
        question = self.question
        names = question.names
        if moved and ("rate" in self.binding.kinds or UPDATE.search(name_of(self.backward))):
            return self._from_change({name: (before[name], after[name]) for name in moved}, "changed in place")
        values = {name: before[unique] for name, unique in names.items() if unique in before}
        groups: dict[str, dict[str, Any]] = {}
        for name, x in values.items():
            groups.setdefault(re.sub(r"\[\d+\]$", "", name), {})[name] = x
        found = in_groups(returned, self.names, groups) or {}
        if not found and isinstance(returned, (dict, list, tuple)):
            found = matched_gradients(returned, values)
        if not found and isinstance(returned, tuple):
            found = next((f for part in returned if (f := matched_gradients(part, values))), {})
        if found and not _are_inputs(returned, before, question):
            gradients = {names[name]: np.array(g) for name, g in found.items()}
            return Answer(gradients, "returns the gradients of the object's parameters")
        kept = gradient_places(parameter_places(question.thing), question.thing)
        if kept:
            gradients = {names[name]: np.array(g) for name, g in kept.items() if name in names}
            form = "keeps its gradients in the object"
            if isinstance(returned, (np.ndarray, tuple, list, dict)):
                inputs = {n: x for n, x in before.items() if n not in names.values()}
                more, notes = self._matched(returned, inputs)
                return Answer({**more, **gradients}, f"{form} and returns those of its inputs", notes=notes)
            return Answer(gradients, form)
        return super()._read(returned, before, after, moved, outputs)


def _are_inputs(returned: Any, before: Mapping[str, Any], question: MethodQuestion) -> bool:
    """Whether a tuple is rather about the method's inputs, as that of a layer without gradients of its own is."""
    if not isinstance(returned, (list, tuple)):
        return False
    inputs = [x for name, x in before.items() if name not in question.places and is_float(x)]
    shapes = [np.shape(x) for x in inputs]
    return len(returned) == len(inputs) != len(question.places) and [shape_of(g) for g in returned] == shapes


def _holders(thing: Any, array: Any) -> Iterator[Place]:
    """Every dict or list in an object that holds this very array: a network's and a layer's may be the same."""
    seen: set[int] = set()
    waiting: list[Any] = [vars(thing)]
    while waiting:
        container = waiting.pop()
        if id(container) in seen:
            continue
        seen.add(id(container))
        for key, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
            if value is array:
                yield container, key
            elif isinstance(value, (dict, list)):
                waiting.append(value)
            elif isinstance(getattr(value, "__dict__", None), dict) and not _is_code(value):
                waiting.append(vars(value))


def _is_code(value: Any) -> bool:
    return isinstance(value, type) or inspect.ismodule(value) or inspect.isroutine(value)
