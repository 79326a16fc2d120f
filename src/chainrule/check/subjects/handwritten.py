"""Models that somebody wrote by hand, as they are: a class with parameters and a few methods. What each method is for
is told by its name and by those of its parameters, and then tried on a few samples.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from chainrule.check.numeric import numerical_gradient
from chainrule.check.subjects.calls import (
    Layout,
    UnfitError,
    as_array,
    as_number,
    call,
    quietly,
    required,
    roles,
    takes_one_sample,
)
from chainrule.check.subjects.interface import Array, Subject, assumed_loss, listed
from chainrule.check.subjects.places import (
    Place,
    checked_names,
    gradient_places,
    is_parameter_name,
    matched_gradients,
    mode_places,
    parameter_places,
    read,
    write,
)
from chainrule.check.subjects.snapshots import Snapshot
from chainrule.errors import ChainruleError

# What methods are called, the likeliest first.
METHODS = {
    what: tuple(names.split())
    for what, names in {
        "predict": "forward predict_proba feedforward feed_forward forward_pass forward_propagation forward_prop "
        "forwardprop propagate __call__ logits scores output activate predict loss",
        "loss": "loss compute_loss calculate_loss calc_loss get_loss loss_fn loss_function cost compute_cost "
        "cost_function objective criterion cross_entropy cross_entropy_loss mse forward __call__ validate",
        "gradients": "gradients gradient compute_gradients calculate_gradients get_gradients grads compute_grads grad "
        "backprop back_prop backpropagation back_propagation backward backward_pass backward_propagation backward_prop "
        "loss_and_grad loss_and_gradients loss",
        "update": "train_step training_step train_on_batch train_batch fit_batch sgd_step step update "
        "update_mini_batch learn update_parameters update_params update_weights apply_gradients optimize optimise "
        "partial_fit train fit backward backprop backpropagation backward_pass",
    }.items()
}
ZEROES = ("zero_grad", "zero_grads", "zero_gradients", "reset_grad", "reset_grads", "reset_gradients", "clear_grads")
EVALUATES = ("validate", "evaluate", "accuracy", "score", "test")


class HandwrittenModel(Subject):
    """An object of somebody's class. Made by `as_subject`.

    Parameters
    ----------
    thing : object
    loss : function of (outputs, targets), optional
    lr : float
    """

    def __init__(self, thing: Any, loss: Callable[[Any, Any], Any] | None = None, lr: float = 0.1) -> None:
        super().__init__(type(thing).__name__, lr)
        self.thing, self._given_loss = thing, loss
        self._names = list(parameter_places(thing))
        self._plans: dict[str, tuple[str, Layout]] = {}
        self._reasons: dict[str, str] = {}

    @property
    def places(self) -> dict[str, Place]:
        """Where each parameter is now; looked up anew, since an update may put a new list or dict in its place."""
        found = parameter_places(self.thing)
        return {name: found[name] for name in self._names if name in found}

    # ---- what there is -------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> dict[str, Array]:
        return {name: read(place) for name, place in self.places.items()}

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        places = self.places
        checked_names(values, places)
        for name, value in values.items():
            write(places[name], value, name)

    def snapshot(self) -> Snapshot:
        return Snapshot(self.thing, self._given_loss)

    def offers(self, what: str) -> bool:
        if what in self._reasons:
            return False
        if what == "loss":
            return any(map(self.offers, ("predict", "update"))) or bool(self._methods("loss"))
        return bool(self._methods(what))

    @property
    def loss_assumed(self) -> bool:
        return self._given_loss is None and self._plans.get("loss", ("?",))[0] == ""

    @property
    def single(self) -> bool:
        return any(layout.single for _, layout in self._plans.values())

    def evaluations(self) -> dict[str, Callable[[Any, Any], Any]]:
        found = super().evaluations()
        for name in EVALUATES:
            method = getattr(self.thing, name, None)
            if callable(method) and {"inputs", "targets"} <= set(roles(method).values()):
                found[name] = partial(self._each, name)
        return found

    def recognised(self) -> str:
        said = [f"its parameters are {listed(list(self.places)) or 'not found'}"]
        said += [f"{what} is {method or 'assumed from the outputs'}" for what, (method, _) in self._plans.items()]
        said += [f"there is no {what} ({why})" for what, why in self._reasons.items()]
        layouts = {str(layout) for _, layout in self._plans.values()}
        said += [f"samples are given as {' and '.join(sorted(layouts))}"] if layouts else []
        return f"{self.name}: {'; '.join(said)}."

    # ---- what it does --------------------------------------------------------------------------------------------

    def predict(self, x: Any) -> Array:
        method, layout = self._plan("predict", x, None)
        return self._predict(method, layout, np.asarray(x))

    def loss(self, x: Any, t: Any) -> float:
        if self._given_loss is not None:
            return as_number(quietly(self._given_loss, self.predict(x), np.asarray(t)))
        method, layout = self._plan("loss", x, t)
        if not method:
            return assumed_loss(self.predict(x), t)
        return self._loss(method, layout, np.asarray(x), np.asarray(t))

    def gradients(self, x: Any, t: Any) -> dict[str, Array] | None:
        if not self.offers("gradients"):
            return None
        try:
            method, layout = self._plan("gradients", x, t)
        except ChainruleError:
            return None
        return self._gradients(method, layout, np.asarray(x), np.asarray(t))

    def update(self, x: Any, t: Any) -> None:
        method, layout = self._plan("update", x, t)
        self._update(method, layout, np.asarray(x), np.asarray(t))

    # ---- with a method that is known -----------------------------------------------------------------------------

    def _predict(self, method: str, layout: Layout, x: Array) -> Array:
        with self._mode(False):
            return layout.joined([as_array(self._forward(method, part)) for part, _ in layout.parts(x)])

    def _loss(self, method: str, layout: Layout, x: Array, t: Array) -> float:
        if method not in METHODS["loss"]:  # a step that returns the loss, and is taken back
            with self.kept():
                return float(np.mean([as_number(r) for r in self._steps(method, layout, x, t)]))
        with self._mode(False):
            return float(np.mean([as_number(self._with_outputs(method, *part)) for part in layout.parts(x, t)]))

    def _gradients(self, method: str, layout: Layout, x: Array, t: Array) -> dict[str, Array]:
        with self._mode(False):
            each = [self._one_gradient(method, *part)[0] for part in layout.parts(x, t)]
        return {name: np.mean([g[name] for g in each], axis=0) for name in each[0]}

    def _update(self, method: str, layout: Layout, x: Array, t: Array) -> None:
        self._steps(method, layout, x, t)

    def _steps(self, method: str, layout: Layout, x: Array, t: Array) -> list[Any]:
        with self._mode(True):
            return [self._one_step(method, *part) for part in layout.parts(x, t)]

    def _each(self, name: str, x: Any, t: Any) -> list[Any]:
        """Call an evaluating method as the loss is called."""
        layout = next((layout for _, layout in self._plans.values()), Layout("rows"))
        with self._mode(False):
            return [self._with_outputs(name, *part) for part in layout.parts(x, t)]

    # ---- one call ------------------------------------------------------------------------------------------------

    def _values(self, x: Any, t: Any, training: bool = False) -> dict[str, Any]:
        return {
            "inputs": x,
            "targets": t,
            "epochs": 1,
            "size": len(x) if np.ndim(t) else 1,
            "mode": training,
            "rate": self.lr,
            "pairs": [(x, t)],
        }

    def _forward(self, method: str, x: Any, training: bool = False) -> Any:
        return call(getattr(self.thing, method), {"inputs": x, "mode": training}, guess=True)

    def _with_outputs(self, method: str, x: Any, t: Any) -> Any:
        """Call a method of inputs and targets, or, after a forward pass, of outputs and targets."""
        values, f = self._values(x, t), getattr(self.thing, method)
        if "inputs" not in roles(f).values() and "predict" in self._plans:
            values["outputs"] = as_array(self._forward(self._plans["predict"][0], x))
        return call(f, values, guess=True)

    def _one_gradient(self, method: str, x: Any, t: Any) -> tuple[dict[str, Array], Any]:
        """The gradients by the parameters' names, and in the form in which they were returned."""
        values, f = self._values(x, t), getattr(self.thing, method)
        needs = set(roles(f, backward=True).values())
        for name in ZEROES:
            if callable(getattr(self.thing, name, None)):
                call(getattr(self.thing, name), {})
        if "predict" in self._plans:
            values["outputs"] = as_array(self._forward(self._plans["predict"][0], x))
        if not needs & {"inputs", "targets"}:
            self._loss_before(x, t)
        if "seed" in needs:
            values["seed"] = self._seed(values.get("outputs"), t)
        returned = call(f, values, backward=True)
        parts = [part for part in returned if isinstance(part, (Mapping, list))] if isinstance(returned, tuple) else []
        own = self.parameters
        found = {id(given): matched_gradients(given, own) for given in (returned, *parts)}
        best = max((returned, *parts), key=lambda given: len(found[id(given)]))
        if found[id(best)]:
            return found[id(best)], best
        kept = gradient_places(self.places, self.thing)
        if not kept:
            raise UnfitError(f"{method}() neither returned gradients nor left them where they could be found")
        return kept, kept

    def _one_step(self, method: str, x: Any, t: Any) -> Any:
        values, f = self._values(x, t, training=True), getattr(self.thing, method)
        backward = method.startswith("back")  # which takes no gradients of the parameters
        needs = set(roles(f, backward).values())
        if not needs & {"inputs", "targets", "pairs"} and None not in required(f) and not backward:
            if "gradients" not in self._plans:
                raise UnfitError(f"{method}() needs gradients, and nothing was found that gives them")
            values["gradients"] = self._one_gradient(self._plans["gradients"][0], x, t)[1]
        elif ("inputs" not in needs or "outputs" in needs) and "predict" in self._plans:
            values["outputs"] = as_array(self._forward(self._plans["predict"][0], x, training=True))
        return call(f, values, guess=True, backward=backward)

    def _loss_before(self, x: Any, t: Any) -> None:
        """Call the loss before a `backward()` that is told nothing, since it may be the loss that remembers."""
        for name in self._methods("loss"):
            if "targets" in roles(getattr(self.thing, name)).values():
                self._with_outputs(name, x, t)
                return

    def _seed(self, outputs: Any, t: Any) -> Any:
        """What is handed to `backward(d)`: the derivative of the loss by the outputs, or 1 where no loss was given."""
        loss = self._given_loss
        if loss is None or outputs is None:
            return 1.0
        return numerical_gradient(lambda o: as_number(quietly(loss, o, t)), outputs)

    @contextmanager
    def _mode(self, training: bool) -> Iterator[None]:
        """Set the flags that say whether the model is being trained, where it has any."""
        places = mode_places(self.thing)
        before = [container[key] for container, key in places]
        try:
            for container, key in places:
                container[key] = training
            yield
        finally:
            for (container, key), value in zip(places, before, strict=True):
                container[key] = value

    # ---- finding out ---------------------------------------------------------------------------------------------

    def _methods(self, what: str) -> list[str]:
        """Those of the methods for something that the object has."""
        own = [name for name in METHODS[what] if callable(getattr(self.thing, name, None))]
        if what == "loss":  # a forward pass that is given targets
            own = [name for name in own if "targets" in roles(getattr(self.thing, name)).values()]
        if what == "predict":
            own = [name for name in own if "targets" not in required(getattr(self.thing, name))]
        return own

    def _plan(self, what: str, x: Any, t: Any) -> tuple[str, Layout]:
        """The method for something and how samples are given to it; found at the first call, on a few samples."""
        if what not in self._plans and what not in self._reasons:
            if what != "predict" and "predict" not in self._reasons:
                self._try_plan("predict", x, t)
            if what in ("update", "loss"):
                self._try_plan("gradients", x, t)
            self._try_plan(what, x, t)
        if what not in self._plans:
            raise self._missing(what, self._reasons[what])
        return self._plans[what]

    def _try_plan(self, what: str, x: Any, t: Any) -> None:
        if what in self._plans or what in self._reasons:
            return
        x, t = np.asarray(x), None if t is None else np.asarray(t)
        rows = self._trial_rows(x)
        x, t, reasons = x[rows], None if t is None else t[rows], []
        names = self._methods(what) + (self._methods("update") if what == "loss" else [])
        # First what fits in all respects; then also labels for outputs, and gradients of other shapes.
        for strict in (True, False):
            for name, layout in [(each, layout) for each in names for layout in self._layouts(each)]:
                try:
                    with self.kept():
                        self._try(what, name, layout, x, t, strict)
                except Exception as error:  # somebody's code, called in a way that may not be meant
                    kind = "" if isinstance(error, UnfitError) else f"{type(error).__name__}: "
                    reasons.append(f"{name}(), given {layout}: {kind}{error}")
                else:
                    self._plans[what] = name, layout
                    return
        if what == "loss" and "predict" in self._plans:
            self._plans[what] = "", self._plans["predict"][1]
        else:
            self._reasons[what] = reasons[0] if reasons else "no method has such a name"

    def _trial_rows(self, x: Array) -> Array:
        """A few samples: a number of them that is no size of the model, so that no axis is mistaken for the batch."""
        sizes = {size for p in self.parameters.values() for size in p.shape} | set(x.shape[1:])
        return np.arange(next(n for n in range(3, 3 + len(sizes) + 1) if n not in sizes)) % len(x)

    def _layouts(self, method: str) -> list[Layout]:
        # The gradients' layout first, so that the loss is the one that they belong to.
        plans = [self._plans[what] for what in ("gradients", "predict", "loss", "update") if what in self._plans]
        known = [layout.name for _, layout in plans]
        first = ["row", "vector"] if takes_one_sample(getattr(self.thing, method)) and not known else []
        return [Layout(name) for name in dict.fromkeys([*known, *first, *Layout.NAMES])]

    def _try(self, what: str, method: str, layout: Layout, x: Array, t: Any, strict: bool) -> None:
        """Try a method on a few samples, and raise if it does not give what is wanted. The caller puts things back."""
        before = self.parameters
        if what == "loss":
            self._loss(method, layout, x, t)
        elif what == "predict":
            outputs = self._predict(method, layout, x)
            whole = strict and outputs.size > 1 and not (outputs % 1).any() and len(set(outputs.ravel())) < outputs.size
            if not outputs.ndim or len(outputs) != len(x) or len(self._predict(method, layout, x[:2])) != 2:
                raise UnfitError(f"{len(x)} samples gave outputs of shape {outputs.shape}")
            if whole and (x % 1).any():
                raise UnfitError("it returned whole numbers, which are labels rather than outputs")
            self._predict(method, layout, x * 0.5)
            self._forget_buffers(before)
        elif what == "gradients":
            found = self._gradients(method, layout, x, t)
            if strict and any(g.shape != before[name].shape for name, g in found.items()):
                raise UnfitError("the gradients have not the shapes of the parameters")
            if _moved(before, self.parameters):
                raise UnfitError("it changes the parameters")
        else:
            self._update(method, layout, x, t)
            after = self.parameters
            if any(name not in after or after[name].shape != p.shape for name, p in before.items()):
                raise UnfitError("the parameters had other shapes afterwards")
            if not _moved(before, after):
                raise UnfitError("it changed no parameter")

    def _forget_buffers(self, before: dict[str, Array]) -> None:
        """What a forward pass writes is no parameter, unless it is called like one."""
        after = self.parameters
        self._names = [
            name
            for name in self._names
            if is_parameter_name(name) or (name in after and np.array_equal(before[name], after[name], equal_nan=True))
        ]


def _moved(before: dict[str, Array], after: dict[str, Array]) -> bool:
    return any(name in after and not np.array_equal(p, after[name], equal_nan=True) for name, p in before.items())
