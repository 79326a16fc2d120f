"""Causes that the numbers alone show: a constant ratio, a shape, values that stand elsewhere."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from chainrule.check.verdict import Cause, number

Array = np.ndarray[Any, Any]

SAMPLES = {"x", "X", "inputs", "data", "images", "batch", "features", "x_batch", "X_batch", "t", "y", "Y", "targets"}


def cause_of(
    name: str, yours: Array, correct: Array, point: Array, sizes: Mapping[str, float], tol: float
) -> Cause | None:
    """The cause that a wrong gradient shows by itself.

    Parameters
    ----------
    name : str
        The input.
    yours, correct : ndarray
        The gradients; `correct` is NaN where it is not known.
    point : ndarray
        The input's value.
    sizes : dict of str to float
        Numbers that may have been forgotten, by what they are called; see `known_numbers`.
    tol : float
        The relative error up to which arrays count as equal.
    """
    if yours.shape != correct.shape:
        return _of_shape(name, yours, correct, tol)
    ratio = constant_ratio(yours, correct, tol)
    if ratio is not None:
        return of_ratio(ratio, sizes)
    known = np.isfinite(correct)
    if known.all():
        for order in _orders(correct):
            if near(yours, correct.transpose(order), tol):
                return Cause("transpose", "yours is the transpose of the correct one.")
        scale = np.abs(correct).sum()
        if not yours.any() or np.abs(yours).sum() < tol * scale:
            if correct.ndim == 1 and abs(correct.sum()) < tol * scale:
                return Cause(
                    "wrong axis",
                    "yours is 0 everywhere, as the sum over the outputs is: the sum runs over the wrong axis.",
                )
            return None
        total = float(correct.sum())
        apart = np.abs(yours - correct).sum()
        if correct.ndim == 1 and abs(yours.sum() - total) < tol * min(scale, apart) and abs(total) > 0.01 * scale:
            return Cause("wrong axis", "both have the same total: the sum runs over the wrong axis.")
    return _of_difference(name, yours[known], correct[known], point[known], tol)


def constant_ratio(yours: Array, correct: Array, tol: float) -> float | None:
    """`yours / correct` if that is the same number everywhere, and not 0."""
    known = np.isfinite(correct)
    a, b = np.asarray(yours, float)[known], np.asarray(correct, float)[known]
    if not a.size or not np.isfinite(a).all():
        return None
    with np.errstate(all="ignore"):
        square = float(b @ b)
        ratio = float(a @ b) / square if square else 0.0
    if not ratio or not np.isfinite(ratio):
        return None
    return ratio if near(a, ratio * b, tol) and abs(ratio - 1) > tol else None


def of_ratio(ratio: float, sizes: Mapping[str, float]) -> Cause:
    """The cause behind a ratio that is the same everywhere."""
    size, minus = abs(ratio), ratio < 0
    if minus and abs(size - 1) < 1e-4:
        return Cause("sign", "ratio -1 everywhere: the sign is wrong.")
    also = " And the sign is wrong." if minus else ""
    shown = f"ratio {number(ratio)}"
    for what, value, missing, extra in _numbers(sizes):
        if abs(size - value) < 1e-4 * value:
            same = "" if what == number(size) else f" = {what}"
            return Cause("factor", f"{shown}{same} everywhere: {missing}.{also}")
        if abs(size * value - 1) < 1e-4:
            return Cause("factor", f"{shown} = 1/{what} everywhere: {extra}.{also}")
    return Cause("factor", f"{shown} everywhere: a constant factor.{also}")


def _numbers(sizes: Mapping[str, float]) -> Iterator[tuple[str, float, str, str]]:
    """Numbers that are forgotten: what they are called, their value, and what their presence and their absence mean."""
    batch = sizes.get("batch size")
    if batch and batch > 2:
        yield "batch size", batch, "1/N is missing", "1/N is there once too often"
    yield "2", 2.0, "a factor 1/2 is missing", "a factor 2 is missing"
    for what, value in sizes.items():
        if value > 0 and value != 1:
            name = "N" if what == "batch size" else number(value)
            yield what, value, f"1/{name} is missing", f"1/{name} is there once too often"
    if batch and batch > 4:
        yield "twice the batch size", 2 * batch, "1/(2N) is missing", "1/(2N) is there once too often"
        yield "half the batch size", batch / 2, "2/N is missing", "2/N is there once too often"
    for (one, a), (other, b) in itertools.combinations(sizes.items(), 2):
        if a > 1 and b > 1:
            yield (
                f"{one} · {other}",
                a * b,
                f"1/{number(a * b)} is missing",
                f"1/{number(a * b)} is there once too often",
            )
    for what, value in sizes.items():
        if value > 1:
            yield (
                f"{what} / 2",
                value / 2,
                f"2/{number(value)} is missing",
                f"2/{number(value)} is there once too often",
            )
    if batch and batch > 2:
        yield "N/(N - 1)", batch / (batch - 1), "N and N - 1 are confused", "N and N - 1 are confused"
    yield "4", 4.0, "a factor 1/4 is missing", "a factor 4 is missing"
    yield "3", 3.0, "a factor 1/3 is missing", "a factor 3 is missing"


def in_part(yours: Array, correct: Array, tol: float) -> Cause | None:
    """A cause from elements that are right and others that are all off by one factor."""
    known = np.isfinite(correct) & (np.abs(correct) > tol * np.nanmax(np.abs(correct), initial=0.0))
    if not np.isfinite(yours).all() or not known.any():
        return None
    ratios = yours[known] / correct[known]
    off = ratios[np.abs(ratios - 1) > tol]
    if not 2 <= off.size <= ratios.size - 2 or np.ptp(off) > tol * np.abs(off).max() or not off.any():
        return None
    kind = "sign" if abs(off[0] + 1) < tol else "factor"
    share = f"{off.size} of {ratios.size} elements"
    return Cause(kind, f"{share} are off by the same ratio {number(float(off[0]))}, the others are right.")


def known_numbers(leaves: Mapping[str, Any], outputs: tuple[Any, ...], rate: float | None = None) -> dict[str, float]:
    """The sizes that a factor may come from, by what they are called: batch size, classes, axes, learning rate."""
    found: dict[str, float] = {}
    arrays = {name: x for name, x in leaves.items() if isinstance(x, np.ndarray) and x.ndim}
    labels = [x for x in arrays.values() if x.dtype.kind in "iu" and x.ndim == 1]
    samples = [x for name, x in arrays.items() if name in SAMPLES and (x.ndim > 1 or name in ("t", "y", "targets"))]
    first = next(iter(arrays.values()), None)
    out = outputs[0] if outputs and np.ndim(outputs[0]) else None
    for batch in (*labels, *samples, out, first if first is not None and first.ndim > 1 else None):
        if batch is not None and np.ndim(batch) and len(batch) > 1:
            found["batch size"] = float(len(batch))
            break
    targets = [
        x for n, x in arrays.items() if n in ("t", "y", "Y", "T", "targets") and x.ndim == 2 and x.dtype.kind in "fiub"
    ]
    if targets and targets[0].shape[1] > 1:
        found["number of outputs"] = float(targets[0].shape[1])
    elif out is not None and np.ndim(out) == 2 and np.shape(out)[1] > 1:
        found["number of outputs"] = float(np.shape(out)[1])
    for name, x in arrays.items():
        for axis, size in enumerate(x.shape):
            if size > 1 and float(size) not in found.values():
                found[f"the size of axis {axis} of {name}"] = float(size)
    if rate is not None:
        found["the learning rate"] = rate
    return found


def near(a: Array, b: Array, tol: float) -> bool:
    """Whether two arrays agree, relative to their size."""
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    return float(np.linalg.norm(a - b)) <= tol * float(max(np.linalg.norm(a), np.linalg.norm(b)))


def _of_shape(name: str, yours: Array, correct: Array, tol: float) -> Cause | None:
    """A cause from a shape that is not the input's."""
    if not np.isfinite(correct).all():
        return None
    if yours.ndim == correct.ndim == 2 and near(yours, correct.T, tol):
        return Cause("transpose", "transposed, it is right.")
    if yours.size == correct.size and near(yours.reshape(-1), correct.reshape(-1), tol):
        return Cause("transpose", "its elements are right, its shape is not.")
    for count in range(1, yours.ndim + 1):
        for axes in itertools.combinations(range(yours.ndim), count):
            where = f"axis {axes[0]}" if count == 1 else f"axes {', '.join(map(str, axes))}"
            for what, reduce in (("sum", np.sum), ("mean", np.mean)):
                reduced = reduce(yours, axis=axes)
                if reduced.size == correct.size and near(reduced.reshape(-1), correct.reshape(-1), tol):
                    return Cause("missing sum", f"the {what} over {where} is missing: with it, yours is right.")
    scale = max(float(np.abs(correct).sum()), float(np.abs(yours).sum()))
    if abs(float(yours.sum()) - float(correct.sum())) < tol * scale:
        return Cause("wrong axis", "both have the same total: the sum runs over the wrong axis.")
    return None


def _of_difference(name: str, yours: Array, correct: Array, point: Array, tol: float) -> Cause | None:
    """A cause from what is too much or too little."""
    if not np.isfinite(yours).all():
        return None
    zero = np.abs(yours) <= tol * np.abs(correct).max(initial=0.0)
    if zero.any() and not zero.all() and near(yours[~zero], correct[~zero], tol):
        share = f"{int(zero.sum())} of {zero.size} elements"
        return Cause("overwritten", f"{share} are 0 and the others right: only some of the contributions are kept.")
    difference = yours - correct
    factor = constant_ratio(difference, point, 10 * tol) if np.any(point) and difference.size > 2 else None
    if factor is None and difference.size > 2 and np.any(point) and near(difference, point, 10 * tol):
        factor = 1.0
    if factor is not None:
        what = "is missing" if factor < 0 else "is too much"
        return Cause(
            "other loss", f"{number(abs(factor))} · {name} {what} everywhere: the gradient of a penalty that the loss "
            f"{'has' if factor < 0 else 'does not have'}.",
        )  # fmt: skip
    return None


def _orders(x: Array) -> Iterator[tuple[int, ...]]:
    """Orders of the axes that keep the shape."""
    for order in itertools.permutations(range(x.ndim)):
        if order != tuple(range(x.ndim)) and tuple(x.shape[i] for i in order) == x.shape:
            yield order
