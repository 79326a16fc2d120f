"""How somebody's method wants to be called: what each of its parameters stands for, told by its name, and whether it
takes a batch in rows, a batch in columns, or one sample at a time.
"""

import inspect
import io
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Names as people write them, in lower case and without underscores at the ends.
ROLES: dict[str, frozenset[str]] = {
    role: frozenset(names.split())
    for role, names in {
        "inputs": "x xs xb x_batch batch_x xbatch x_train train_x xtrain input inputs input_data data features image "
        "images sample samples batch inp in_data a0 x_in x_input",
        "targets": "t ts tb y_true ytrue target targets label labels truth expected desired y_train train_y ytrain yb "
        "y_batch batch_y one_hot onehot ground_truth t_batch true y_target",
        "outputs": "y_pred ypred y_hat yhat output outputs o out pred preds prediction predictions predicted probs "
        "probabilities scores logits al a2 a3",
        "seed": "d g dout grad_output upstream dy delta dl_dy dloss grad_out d_out dl_dout loss_grad output_gradient",
        "gradients": "grads gradients grad gradient nablas",
        "parameters": "p params parameters theta weights w",
        "rate": "lr eta learning_rate alpha step_size rate lrate learningrate",
        "epochs": "epochs n_epochs num_epochs epoch iterations num_iters num_iterations n_iter n_iters niter steps "
        "max_iter",
        "size": "batch_size mini_batch_size minibatch_size batchsize",
        "pairs": "mini_batch minibatch training_data pairs",
        "mode": "train training train_flg train_flag is_training is_train train_mode",
    }.items()
}
ALWAYS = {"inputs", "targets", "outputs", "epochs", "size", "mode"}  # given even where there is a default


class UnfitError(Exception):
    """A method that cannot be called with what there is; the message says what is missing."""


def roles(method: Callable[..., Any], backward: bool = False) -> dict[str, str | None]:
    """What each parameter of a method stands for, by its name; None where that is not known."""
    names = [p.name for p in _parameters(method)]
    found = {name: _role(name) for name in names}
    for name in names:
        if name.lower().strip("_") == "y":
            found[name] = "outputs" if "targets" in found.values() else "targets"
        if backward and found[name] == "gradients":
            found[name] = "seed"
    return found


def required(method: Callable[..., Any], backward: bool = False) -> list[str | None]:
    """The roles of the parameters that have no default."""
    by_name = roles(method, backward)
    return [by_name[p.name] for p in _parameters(method) if p.default is p.empty]


def call(method: Callable[..., Any], values: Mapping[str, Any], *, guess: bool = False, backward: bool = False) -> Any:
    """Call a method with what its parameters stand for.

    Parameters
    ----------
    method : callable
    values : mapping
        What there is, by role.
    guess : bool
        Whether a first and second parameter of unknown name may be taken for inputs and targets.
    backward : bool
        Whether a parameter called `grad` is the gradient that comes from above, not those of the parameters.
    """
    by_name, positional, named = roles(method, backward), [], {}
    free = [role for role in ("inputs", "targets") if role in values and role not in by_name.values()]
    for p in _parameters(method):
        role = by_name[p.name]
        if role is None and guess and p.default is p.empty and free:
            role = free.pop(0)
        if role is not None and role in values and (p.default is p.empty or role in ALWAYS):
            value = values[role]
        elif p.default is not p.empty:
            continue
        else:
            known = f"which is taken for the {role}" if role else "whose name says nothing"
            raise UnfitError(f"{_name(method)} wants '{p.name}', {known}, and there is nothing to give it")
        if p.kind is p.POSITIONAL_ONLY:
            positional.append(value)
        else:
            named[p.name] = value
    return quietly(method, *positional, **named)


def quietly(f: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call without warnings, since an overflow is judged by its result, and without what it prints at every step."""
    with np.errstate(all="ignore"), warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return f(*arguments, **named)


def takes_one_sample(method: Callable[..., Any]) -> bool:
    """Whether the targets are declared as a single int."""
    by_name = roles(method)
    return any(by_name[p.name] == "targets" and p.annotation in (int, "int") for p in _parameters(method))


def _parameters(method: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        found = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        raise UnfitError(f"{_name(method)} has no signature that can be read") from None
    return [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _role(name: str) -> str | None:
    plain = name.lower().strip("_")
    return next((role for role, names in ROLES.items() if plain in names), None)


def _name(method: Any) -> str:
    return f"{getattr(method, '__name__', type(method).__name__)}()"


class Layout:
    """How samples are handed over: `rows` (N, n), `columns` (n, N), or one at a time as `vector`, `row` or `column`."""

    NAMES = ("rows", "columns", "vector", "column", "row")

    def __init__(self, name: str) -> None:
        self.name = name
        self.single = name in ("vector", "row", "column")

    def __str__(self) -> str:
        said = {"rows": "a batch in rows (N, n)", "columns": "a batch in columns (n, N)", "row": "rows (1, n)"}
        said |= {"vector": "vectors (n,)", "column": "columns (n, 1)"}
        return said[self.name] + (", one sample at a time" if self.single else "")

    def parts(self, x: Array, t: Any = None) -> list[tuple[Any, Any]]:
        """The calls to be made for a batch: inputs and targets of each."""
        x, t = np.array(x), None if t is None else np.array(t)
        if self.name == "rows":
            return [(x, t)]
        if self.name == "columns":
            return [(x.T, None if t is None else t.T)]
        shape = {"vector": x.shape[1:], "row": (1, *x.shape[1:]), "column": (-1, 1)}[self.name]
        wide = t is not None and t.ndim > 1
        t_shape = {"vector": (-1,), "row": (1, -1), "column": (-1, 1)}[self.name]
        targets = [None] * len(x) if t is None else [each.reshape(t_shape) if wide else each for each in t]
        return [(each.reshape(shape), target) for each, target in zip(x, targets, strict=True)]

    def joined(self, outputs: list[Any]) -> Array:
        """The outputs of those calls as (N, ...); an `UnfitError` if they have not the form of what was given."""
        axes = {"vector": (0, 1), "row": (0, 1, 2), "column": (0, 2), "columns": (2,)}.get(self.name)
        if axes is not None and any(np.ndim(each) not in axes for each in outputs):
            raise UnfitError(f"given {self}, it returned an array of shape {np.shape(outputs[0])}")
        if self.name == "rows":
            return np.array(outputs[0])
        if self.name == "columns":
            return np.array(outputs[0]).T
        return np.array([np.asarray(each).ravel() for each in outputs])

    def split(self, outputs: Array) -> list[Any]:
        """The inverse of `joined`: the outputs of each call."""
        if self.name == "rows":
            return [outputs]
        if self.name == "columns":
            return [outputs.T]
        shape = {"vector": (-1,), "row": (1, -1), "column": (-1, 1)}[self.name]
        return [each.reshape(shape) for each in outputs]


def as_array(result: Any) -> Array:
    """What a forward pass returned, as an array; of a tuple, the last part that is one of floats."""
    if isinstance(result, tuple):
        arrays = [part for part in result if isinstance(part, (np.ndarray, list))]
        result = arrays[-1] if arrays else None
    array = np.asarray(result)
    if array.dtype.kind not in "fiub" or not array.size:
        raise UnfitError(f"what it returned is no array of numbers but {type(result).__name__}")
    return array.astype(float) if array.dtype.kind != "f" else array


def as_number(result: Any) -> float:
    """The loss in what was returned: a number, or the first number in a tuple."""
    for part in result if isinstance(result, tuple) else (result,):
        if isinstance(part, (float, int, np.generic, np.ndarray)) and not isinstance(part, bool) and np.size(part) == 1:
            return float(np.asarray(part).reshape(()))
    raise UnfitError(f"what it returned holds no single number: {type(result).__name__}")
