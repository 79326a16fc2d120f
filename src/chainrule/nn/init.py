"""How parameters begin: initialisers, and the random generator that they and the shuffling of batches share.

An initialiser is a function of a shape `(fan_in, fan_out)` and a generator; it returns an array of floats.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

FloatArray = np.ndarray[Any, np.dtype[np.floating[Any]]]
Initializer = Callable[[tuple[int, ...], np.random.Generator], FloatArray]

_generator = np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Begin the library's random numbers anew: the same seed gives the same parameters and batches, bit by bit."""
    global _generator
    _generator = np.random.default_rng(seed)


def generator() -> np.random.Generator:
    """The generator that is used where none is given."""
    return _generator


def zeros(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """All zeros."""
    return np.zeros(shape)


def ones(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """All ones."""
    return np.ones(shape)


def constant(value: float) -> Initializer:
    """This number everywhere."""
    return lambda shape, rng: np.full(shape, float(value))


def normal(std: float, mean: float = 0.0) -> Initializer:
    """Normal numbers with this standard deviation and mean."""
    return lambda shape, rng: rng.normal(mean, std, shape)


def uniform(low: float, high: float) -> Initializer:
    """Numbers spread evenly over [low, high)."""
    return lambda shape, rng: rng.uniform(low, high, shape)


def he_normal(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """N(0, 2 / fan_in), which keeps the variance through ReLU layers. [He et al. 2015, equation 10]"""
    return rng.normal(0.0, math.sqrt(2 / shape[0]), shape)


def lecun_normal(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """N(0, 1 / fan_in), which keeps the variance through linear layers. [LeCun et al. 1998, section 4.6]"""
    return rng.normal(0.0, math.sqrt(1 / shape[0]), shape)


def lecun_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """Uniform with the variance of `lecun_normal`."""
    bound = math.sqrt(3 / shape[0])
    return rng.uniform(-bound, bound, shape)


def fan_out_normal(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """N(0, 1 / fan_out), as report vu-a1 prints it: LeCun's with the wrong fan, too large where a network narrows."""
    return rng.normal(0.0, math.sqrt(1 / shape[-1]), shape)


def xavier_normal(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """N(0, 2 / (fan_in + fan_out)), also called Glorot's. [Glorot and Bengio 2010, equation 12]"""
    return rng.normal(0.0, math.sqrt(2 / (shape[0] + shape[-1])), shape)


def xavier_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """Uniform with the variance of `xavier_normal`. [Glorot and Bengio 2010, equation 16]"""
    bound = math.sqrt(6 / (shape[0] + shape[-1]))
    return rng.uniform(-bound, bound, shape)
