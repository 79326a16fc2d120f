"""`WORKS`: what is timed, with chainrule's goals, and `Problem`: the data and weights that everybody gets."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from chainrule import data as datasets
from chainrule.data import Dataset

Array = np.ndarray[Any, Any]
Kind = Literal["training", "prediction"]

SEED = 1
MOST_STEPS = 2000  # a candidate that goes through Python for each step does no more of them in a pass
KERNEL, POOL = 5, 2  # the sides of a convolution's kernels, and of the windows of which the maximum is taken
_IMAGES = (2560, 3, 32, 32)  # 20 batches of 128; of CIFAR-10's shape


@dataclass(frozen=True)
class Work:
    """A network and what is done with it: training by SGD on softmax cross-entropy, or prediction.

    Attributes
    ----------
    name, title : str
    layers : tuple of int
        The widths, inputs and outputs included.
    activation : str
        Of the hidden layers: sigmoid, relu or tanh.
    batch : int
        Samples a step, or a call of the prediction.
    channels : tuple of int
        Of a network of images, those of the images and of each convolution by `KERNEL` × `KERNEL`. The activation
        follows each, and the maximum over windows of `POOL` × `POOL`; what is left, in the order (channel, row,
        column), is the input of the `layers`.
    lr, momentum : float
        v ← momentum · v + gradient, parameter ← parameter - lr · v.
    goals : mapping of str to float
        By peer: so many times the time of chainrule (compiled) the peer is to take, at least. For the bare products it
        is below 1, since nobody can be faster than they are.
    eager_goals : mapping of str to float
        The same for chainrule in eager mode.
    data : {"mnist", "random", "synthetic", "pixels"}
        The images, x/255; numbers spread evenly over [0, 1) in their place; the points of `vu-a1`; or random bytes in
        the place of CIFAR-10's, 2u/255 - 1.
    """

    name: str
    title: str
    layers: tuple[int, ...]
    activation: Literal["sigmoid", "relu", "tanh"]
    batch: int
    channels: tuple[int, ...] = ()
    lr: float = 0.05
    momentum: float = 0.0
    goals: Mapping[str, float] = field(default_factory=dict)
    eager_goals: Mapping[str, float] = field(default_factory=dict)
    data: Literal["mnist", "random", "synthetic", "pixels"] = "mnist"
    kind: Kind = "training"

    @property
    def dtype(self) -> Any:
        """Of everything that is computed."""
        return np.float64 if self.data == "synthetic" else np.float32

    @property
    def unit(self) -> str:
        """What the times are times of."""
        return "step" if self.kind == "training" else "call"


def _dense(work: Work) -> Work:
    return Work(
        f"{work.name}-dense",
        f"{work.title}, dense random inputs",
        work.layers,
        work.activation,
        work.batch,
        lr=0.01,
        goals={"products": 1 / 1.2},
        data="random",
    )


def _lenet(batch: int, goal: float) -> Work:
    return Work(
        f"C{batch}",
        f"LeNet of vu-a2 (6 and 16 channels, 400-120-84-10), ReLU, batch {batch}",
        (400, 120, 84, 10),
        "relu",
        batch,
        channels=(3, 6, 16),
        lr=0.001,
        momentum=0.9,
        goals={"pytorch": goal},
        data="pixels",
    )


_M100 = Work(
    "M100",
    "784-64-10, ReLU, batch 100",
    (784, 64, 10),
    "relu",
    100,
    goals={"pytorch": 4, "jax": 1.8, "sklearn": 4},
    eager_goals={"pytorch": 1},
)
_M128 = Work("M128", "784-300-10, sigmoid, batch 128", (784, 300, 10), "sigmoid", 128, goals={"pytorch": 2, "jax": 1.3})
_M500 = Work(
    "M500",
    "784-100-50-25-10, tanh, batch 500",
    (784, 100, 50, 25, 10),
    "tanh",
    500,
    goals={"pytorch": 2, "jax": 2, "sklearn": 2},
)
_EVERY = (
    Work(
        "S",
        "2-3-2, sigmoid, one sample a step, float64",
        (2, 3, 2),
        "sigmoid",
        1,
        lr=0.01,
        goals={"pytorch": 1000, "jax": 1.2},
        data="synthetic",
    ),
    Work(
        "M1",
        "784-300-10, sigmoid, one sample a step",
        (784, 300, 10),
        "sigmoid",
        1,
        lr=0.01,
        goals={"pytorch": 25, "jax": 4, "numpy": 25},
    ),
    _M100,
    _M128,
    _M500,
    Work("MF", "784-64-10, ReLU, 60,000 at once", (784, 64, 10), "relu", 60_000, goals={"pytorch": 1.5, "jax": 1.5}),
    *map(_dense, (_M100, _M128, _M500)),
    _lenet(4, 1.5),
    _lenet(128, 1),
    Work(
        "predict-1",
        "784-64-10, ReLU, the outputs of one sample",
        (784, 64, 10),
        "relu",
        1,
        goals={"pytorch": 4},
        kind="prediction",
    ),
    Work("predict-10000", "784-64-10, ReLU, the outputs of 10,000", (784, 64, 10), "relu", 10_000, kind="prediction"),
)
WORKS = {work.name: work for work in _EVERY}


class Problem:
    """A work with its numbers: the same for every candidate.

    Parameters
    ----------
    work : Work
    rows : int, optional
        Take the first so many samples alone.
    shuffle : bool
        Whether an epoch draws its order. Without, candidates can be compared number by number.
    data : Dataset, optional
        In place of the work's own.

    Attributes
    ----------
    data : Dataset
    weights, biases : list of ndarray
        The start: first those of the convolutions (out, in, kernel, kernel), then (in, out); and zeros (out,).
        Candidates learn copies.
    steps : int
        In an epoch, or calls in what is timed of a prediction.
    """

    def __init__(self, work: Work, rows: int | None = None, shuffle: bool = True, data: Dataset | None = None) -> None:
        self.work = work
        self.data: Dataset = (_load(work) if data is None else data).subset(slice(rows))
        # A single batch needs no order.
        self.shuffle = shuffle and work.batch < len(self.data)
        self.steps = math.ceil(len(self.data) / work.batch) if work.kind == "training" else _calls(work)
        self.weights, self.biases = _start(work)

    @property
    def x(self) -> Array:
        """The inputs as floats, (n, in) or (n, channels, height, width).

        They are made at each call: what a candidate keeps that has no use for bytes.
        """
        return self.data.features(dtype=self.work.dtype)

    @property
    def t(self) -> Array:
        """The labels, int64 (n,)."""
        return self.data.targets


def _calls(work: Work) -> int:
    return max(1, MOST_STEPS // work.batch)


def _load(work: Work) -> Dataset:
    if work.data == "synthetic":
        return datasets.synthetic()[0]
    if work.data == "pixels":
        rng = np.random.default_rng(SEED)
        pixels, labels = rng.integers(0, 256, _IMAGES, np.uint8), rng.integers(0, work.layers[-1], _IMAGES[0])
        return Dataset(pixels, labels, scale=2 / 255, shift=-1, classes=work.layers[-1], name="pixels")
    # Named, the folder is read without keeping the bytes, which would count as memory of candidates that want floats.
    folder = os.environ.get("CHAINRULE_DATA") or Path(datasets.__file__).parent
    mnist = datasets.load("mnist", final=True, data_dir=folder).train
    if work.data == "mnist":
        return mnist
    dense = np.random.default_rng(SEED).random(mnist.inputs.shape, np.float32)
    return Dataset(dense, mnist.targets, classes=mnist.classes, name="random")


def _start(work: Work) -> tuple[list[Array], list[Array]]:
    rng = np.random.default_rng(SEED)
    kernels = [(outputs, inputs, KERNEL, KERNEL) for inputs, outputs in pairwise(work.channels)]
    shapes: list[tuple[int, ...]] = [*kernels, *pairwise(work.layers)]
    outputs = [*work.channels[1:], *work.layers[1:]]
    fans = [math.prod(shape) // count for shape, count in zip(shapes, outputs, strict=True)]
    scales = [math.sqrt((2 if work.activation == "relu" else 1) / fan) for fan in fans]
    weights = [rng.normal(0, scale, shape).astype(work.dtype) for scale, shape in zip(scales, shapes, strict=True)]
    if work.data == "synthetic":  # as the report begins
        from chainrule.lab.reports.vu_a1_training import V, W

        weights = [np.array(W), np.array(V)]
    return weights, [np.zeros(count, work.dtype) for count in outputs]
