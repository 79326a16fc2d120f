"""JAX at its best: a whole epoch in one compiled function, or with convolutions a step; its parameters donated.

The order is drawn by NumPy, since JAX's own permutation of 60,000 takes as long as 150 steps of M100.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.benchmarks.run import Run
from chainrule.benchmarks.works import POOL, Problem

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
    state = parameters, jax.tree.map(jnp.zeros_like, parameters) if work.momentum else None
    epoch = _epoch(problem, x.nbytes // rows + t.nbytes // rows)

    def go(epochs: int) -> None:
        nonlocal state
        for _ in range(epochs):
            order = rng.permutation(rows) if problem.shuffle else np.arange(rows)
            state = epoch(state, order.astype(np.int32), x, t)
        state[0][0][0].block_until_ready()

    return Run(go, lambda: [np.asarray(p) for pair in state[0] for p in pair])


def _epoch(problem: Problem, sample: int) -> Any:
    """The compiled function (state, order, x, t) → state; `sample` is the size of one, in bytes.

    The state is the parameters and, with momentum, their velocities.
    """
    work, batch, rows = problem.work, problem.work.batch, len(problem.data)
    together = max(1, _LITTLE // (batch * sample))
    grouped, whole = (rows // size * size for size in (together * batch, batch))

    def loss(parameters: Any, x: Any, t: Any) -> Any:
        log_y = jax.nn.log_softmax(_outputs(work.activation, parameters, x))
        return -jnp.take_along_axis(log_y, t[:, None], axis=1).mean()

    def step(state: Any, x: Any, t: Any) -> Any:
        parameters, velocities = state
        gradients = jax.grad(loss)(parameters, x, t)
        if work.momentum:
            velocities = jax.tree.map(lambda v, g: work.momentum * v + g, velocities, gradients)
            gradients = velocities
        return jax.tree.map(lambda p, g: p - work.lr * g, parameters, gradients), velocities

    @partial(jax.jit, donate_argnums=0)
    def drawn_step(state: Any, drawn: Any, x: Any, t: Any) -> Any:
        return step(state, x[drawn], t[drawn])

    def steps(state: Any, order: Any, x: Any, t: Any) -> Any:
        for start in range(0, rows, batch):
            state = drawn_step(state, order[start : start + batch], x, t)
        return state

    @partial(jax.jit, donate_argnums=0)
    def epoch(state: Any, order: Any, x: Any, t: Any) -> Any:
        if batch >= rows:
            return step(state, x, t)

        def group(state: Any, drawn: Any) -> Any:
            if len(drawn) == 1:
                return step(state, x[drawn[0]], t[drawn[0]]), None
            return jax.lax.scan(lambda s, pair: (step(s, *pair), None), state, (x[drawn], t[drawn]))

        for part, size in (order[:grouped], together), (order[grouped:whole], 1):
            if len(part):
                state, _ = jax.lax.scan(group, state, part.reshape(-1, size, batch))
        rest = order[whole:]
        return step(state, x[rest], t[rest]) if len(rest) else state

    # In a loop of XLA's convolutions take two to three times as long, whatever the order of their axes.
    return steps if work.channels else epoch


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
        if W.ndim == 4:
            x = _pool(_ACTIVATIONS[activation](jax.lax.conv(x, W, (1, 1), "VALID") + b[:, None, None]))
        else:
            x = _ACTIVATIONS[activation](x.reshape(len(x), -1) @ W + b)
    return x @ weight + bias


def _pool(x: Any) -> Any:
    window = 1, 1, POOL, POOL
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
