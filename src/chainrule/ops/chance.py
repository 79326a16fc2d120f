"""Random numbers in a graph: computed from a key, which is an input like any other. The same key, the same bits."""

import math as scalar
from typing import Any

import numpy as np

from chainrule.ops.families import Structural
from chainrule.ops.op import example


class DropoutMask(Structural):
    """0 with probability p, else 1 / (1 - p), for every element of an array of the given shape. It has no derivative.

    The numbers are those of a Philox generator, which is a function of the key (an int) and a counter, so that there is
    no state to be kept. `use` distinguishes the masks made of one key. [Salmon et al. 2011]
    """

    no_gradient = True
    math = r"\operatorname{mask}({key})"
    examples = (
        example(np.array(7), use=0, shape=(3, 4), p=0.5, dtype=np.dtype(float)),
        example(np.array(7), use=1, shape=(50,), p=0.2, dtype=np.dtype(float)),
        example(np.array(-7), use=0, shape=(), p=0.9, dtype=np.dtype(float)),
    )

    @classmethod
    def result_dtype(cls, inputs: Any, attributes: Any) -> np.dtype[Any]:
        dtype: np.dtype[Any] = attributes["dtype"]
        return dtype

    def forward(key, use, shape, p, dtype):
        bits = np.random.Philox(key=np.array([key, use], np.int64).view(np.uint64))
        return (np.random.Generator(bits).random(shape) >= p) * dtype.type(1 / (1 - p))

    def shape(key, use, shape, p, dtype):
        return shape

    def reference(key, use, shape, p, dtype):
        raw = np.random.Philox(key=int(key) % 2**64 + use * 2**64).random_raw(scalar.prod(shape)).tolist()
        return np.array([0.0 if (word >> 11) / 2**53 < p else 1 / (1 - p) for word in raw]).reshape(shape)
