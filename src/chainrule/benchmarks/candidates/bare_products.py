"""The matrix products of a training and nothing else: nobody who multiplies all numbers by them can be faster."""

import numpy as np

from chainrule.benchmarks.run import Run
from chainrule.benchmarks.works import Problem


def training(problem: Problem) -> Run:
    """All products of forward and backward, into arrays made beforehand, with the threads that NumPy takes."""
    W, x, batch = problem.weights, problem.x, problem.work.batch
    rng = np.random.default_rng(0)
    layers = range(len(W))
    h = [rng.random((batch, w.shape[0]), w.dtype) for w in W]
    d = [rng.random((batch, w.shape[1]), w.dtype) for w in W]
    outputs, gradients = [np.empty_like(each) for each in d], [np.empty_like(w) for w in W]
    behind = [np.empty_like(each) for each in h]

    def step(start: int) -> None:
        h[0] = x[start : start + batch]
        n = len(h[0])
        for k in layers:
            np.matmul(h[k][:n], W[k], out=outputs[k][:n])
        for k in layers:
            np.matmul(h[k][:n].T, d[k][:n], out=gradients[k])
            if k:  # nobody asks for the derivative of the images
                np.matmul(d[k][:n], W[k].T, out=behind[k][:n])

    def go(epochs: int) -> None:
        for _ in range(epochs):
            for start in range(0, len(x), batch):
                step(start)

    return Run(go, list)
