"""How parameters begin: initialisers, and the random generator that they and the shuffling of batches share.

An initialiser is a function of a shape and a generator; it returns an array of floats. The shape is (fan_in, fan_out),
or that of a convolution's kernels, (out_channels, in_channels, height, width).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, ShapeError
from chainrule.nn.arguments import not_negative, real, whole
from chainrule.ops.dims import show

FloatArray = np.ndarray[Any, np.dtype[np.floating[Any]]]
Initializer = Callable[[tuple[int, ...], np.random.Generator], FloatArray]

_generator = np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Begin the library's random numbers anew: the same seed gives the same parameters and batches, bit by bit.

    Raises
    ------
    ChainruleError
        If the seed is no whole number, or negative.
    """
    global _generator
    _generator = np.random.default_rng(whole("manual_seed: the seed", seed, least=0))


def generator() -> np.random.Generator:
    """The generator that is used where none is given."""
    return _generator


def begin(
    where: str, initializer: Initializer, shape: tuple[int, ...], rng: np.random.Generator | None = None
) -> FloatArray:
    """What an initialiser gives for a shape, if it is one and gives an array of that shape."""
    if not callable(initializer):
        raise ChainruleError(f"{where} is {initializer!r}; expected an initialiser, such as nn.init.he_normal.")
    array = initializer(shape, rng or _generator)
    if np.shape(array) != shape:
        raise ShapeError(f"{where} gave an array of shape {show(np.shape(array))}; expected {show(shape)}.")
    return array


def zeros(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """All zeros."""
    return np.zeros(shape)


def ones(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """All ones."""
    return np.ones(shape)


def constant(value: float) -> Initializer:
    """This number everywhere."""
    number = real("init.constant: the value", value)
    return lambda shape, rng: np.full(shape, number)


def normal(std: float, mean: float = 0.0) -> Initializer:
    """Normal numbers with this standard deviation and mean."""
    std, mean = not_negative("init.normal: std", std), real("init.normal: mean", mean)
    return lambda shape, rng: rng.normal(mean, std, shape)


def uniform(low: float, high: float) -> Initializer:
    """Numbers spread evenly over [low, high)."""
    low, high = real("init.uniform: low", low), real("init.uniform: high", high)
    return lambda shape, rng: rng.uniform(low, high, shape)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs an output is made of, and in how many outputs an input has a part: (fan_in, fan_out)."""
    if len(shape) > 2:  # kernels: each meets the whole window, so its places count
        return math.prod(shape[1:]), shape[0] * math.prod(shape[2:])
    return shape[0], shape[-1]


def he_normal(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """N(0, 2 / fan_in), which keeps the variance through ReLU layers. [He et al. 2015, equation 10]"""
    return rng.normal(0.0, math.sqrt(2 / fans(shape)[0]), shape)


def lecun_normal(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """N(0, 1 / fan_in), which keeps the variance through linear layers. [LeCun et al. 1998, section 4.6]"""
    return rng.normal(0.0, math.sqrt(1 / fans(shape)[0]), shape)


def lecun_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """Uniform with the variance of `lecun_normal`."""
    bound = math.sqrt(3 / fans(shape)[0])
    return rng.uniform(-bound, bound, shape)


def fan_out_normal(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """N(0, 1 / fan_out), as report vu-a1 prints it: LeCun's with the wrong fan, too large where a network narrows."""
    return rng.normal(0.0, math.sqrt(1 / fans(shape)[1]), shape)


def xavier_normal(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """N(0, 2 / (fan_in + fan_out)), also called Glorot's. [Glorot and Bengio 2010, equation 12]"""
    return rng.normal(0.0, math.sqrt(2 / sum(fans(shape))), shape)


def xavier_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """Uniform with the variance of `xavier_normal`. [Glorot and Bengio 2010, equation 16]"""
    bound = math.sqrt(6 / sum(fans(shape)))
    return rng.uniform(-bound, bound, shape)
