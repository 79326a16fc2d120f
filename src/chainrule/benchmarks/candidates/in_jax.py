"""JAX at its best: a whole epoch in one compiled function, its parameters donated.

The order is drawn by NumPy, since JAX's own permutation of 60,000 takes as long as 150 steps of M100.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.benchmarks.run import Run
from chainrule.benchmarks.works import Problem

# XLA compiles a loop over at most 1 kB as one function, four times as fast for a tiny network: so many bytes of samples
# are gathered for a loop within the loop.
_LITTLE = 480
_ACTIVATIONS: dict[str, Any] = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "tanh": jnp.tanh}


def training(problem: Problem) -> Run:
    """`jit` of a `scan` over the epoch's batches."""
    work = problem.work
    if work.dtype == np.float64:
        jax.config.update("jax_enable_x64", True)
    x, t, rng = jnp.asarray(problem.x), jnp.asarray(problem.t), np.random.default_rng(0)
    parameters, rows = _start(problem), len(problem.data)
    epoch = _epoch(problem, x.nbytes // rows + t.nbytes // rows)

    def go(epochs: int) -> None:
        nonlocal parameters
        for _ in range(epochs):
            order = rng.permutation(rows) if problem.shuffle else np.arange(rows)
            parameters = epoch(parameters, jnp.asarray(order.astype(np.int32)), x, t)
        parameters[0][0].block_until_ready()

    return Run(go, lambda: [np.asarray(p) for pair in parameters for p in pair])


def _epoch(problem: Problem, sample: int) -> Any:
    """The compiled function (parameters, order, x, t) → parameters; `sample` is the size of one, in bytes."""
    batch, rows, lr = problem.work.batch, len(problem.data), problem.work.lr
    together = max(1, _LITTLE // (batch * sample))
    grouped, whole = (rows // size * size for size in (together * batch, batch))

    def loss(parameters: Any, x: Any, t: Any) -> Any:
        log_y = jax.nn.log_softmax(_outputs(problem.work.activation, parameters, x))
        return -jnp.take_along_axis(log_y, t[:, None], axis=1).mean()

    def step(parameters: Any, x: Any, t: Any) -> Any:
        gradients = jax.grad(loss)(parameters, x, t)
        return jax.tree.map(lambda p, g: p - lr * g, parameters, gradients)

    @partial(jax.jit, donate_argnums=0)
    def epoch(parameters: Any, order: Any, x: Any, t: Any) -> Any:
        if batch >= rows:
            return step(parameters, x, t)

        def group(parameters: Any, drawn: Any) -> Any:
            if len(drawn) == 1:
                return step(parameters, x[drawn[0]], t[drawn[0]]), None
            return jax.lax.scan(lambda p, pair: (step(p, *pair), None), parameters, (x[drawn], t[drawn]))

        for part, size in (order[:grouped], together), (order[grouped:whole], 1):
            if len(part):
                parameters, _ = jax.lax.scan(group, parameters, part.reshape(-1, size, batch))
        rest = order[whole:]
        return step(parameters, x[rest], t[rest]) if len(rest) else parameters

    return epoch


def prediction(problem: Problem) -> Run:
    """The outputs, compiled, of an array that is JAX's already."""
    parameters, x = _start(problem), jnp.asarray(problem.x[: problem.work.batch])
    outputs = jax.jit(partial(_outputs, problem.work.activation))

    def go(times: int) -> None:
        for _ in range(times * problem.steps):
            outputs(parameters, x).block_until_ready()

    return Run(go, lambda: [np.asarray(outputs(parameters, x))])


def _start(problem: Problem) -> Any:
    pairs = zip(problem.weights, problem.biases, strict=True)
    return [(jnp.array(weight), jnp.array(bias)) for weight, bias in pairs]


def _outputs(activation: str, parameters: Any, x: Any) -> Any:
    *hidden, (weight, bias) = parameters
    for W, b in hidden:
        x = _ACTIVATIONS[activation](x @ W + b)
    return x @ weight + bias
