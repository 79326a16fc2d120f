"""How long eager mode takes: an epoch of 784-64-10 with ReLU at batch 100 on MNIST (M100), against PyTorch eager.

    .venv/bin/python benchmarks/eager.py [ROUNDS]

Both do the same work in float32 (x/255 in memory, reshuffled, plain SGD, nothing evaluated inside); the runs are
interleaved, the first round is left out, and the medians and their ratio are printed. Also: the time to import.
"""

import os
import statistics
import subprocess
import sys
import time

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim

BATCH, LR = 100, 0.05


def chainrule_epoch(images, labels):
    train = data.arrays(images, labels, classes=10)
    model = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    sgd, loss = optim.SGD(model.parameters(), lr=LR), nn.CrossEntropyLoss()
    trainer = cr.Trainer(model, loss, sgd)
    rng = np.random.default_rng(0)

    def epoch():
        for x, t in train.batches(BATCH, rng=rng):
            trainer.step(x, t)

    return epoch


def torch_epoch(images, labels):
    import torch

    x, t = torch.from_numpy(images), torch.tensor(labels)
    model = torch.nn.Sequential(torch.nn.Linear(784, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    sgd, loss = torch.optim.SGD(model.parameters(), lr=LR), torch.nn.CrossEntropyLoss()

    def epoch():
        order = torch.randperm(len(x))
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            sgd.zero_grad()
            loss(model(x[rows]), t[rows]).backward()
            sgd.step()

    return epoch


def seconds(f):
    begin = time.perf_counter()
    f()
    return time.perf_counter() - begin


def interleaved(candidates, rounds):
    """The median time of each candidate; one call of each a round, the first round left out."""
    times = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, f in candidates.items():
            spent = seconds(f)
            if number:
                times[name].append(spent)
    return {name: statistics.median(values) for name, values in times.items()}


def importing(module):
    # With bytecode caches for both: pip has made NumPy's; the first import makes ours, unless that is forbidden.
    allowed = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return lambda: subprocess.run([sys.executable, "-c", f"import {module}"], check=True, env=allowed)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    mnist = data.load("mnist", final=True).train
    images, labels = mnist.features(), mnist.targets
    candidates = {"chainrule": chainrule_epoch(images, labels)}
    try:
        candidates["PyTorch"] = torch_epoch(images, labels)
    except ImportError:
        print("PyTorch is not installed (make test-peers installs it): no ratio.")
    times = interleaved(candidates, rounds)
    steps = len(images) // BATCH
    for name, spent in times.items():
        print(f"M100 eager, {name}: {spent:.3f} s an epoch, {spent / steps * 1e6:.0f} µs a step")
    if "PyTorch" in times:
        print(f"chainrule / PyTorch: {times['chainrule'] / times['PyTorch']:.2f}")
    imports = interleaved({name: importing(name) for name in ("numpy", "chainrule")}, 2 * rounds)
    ratio = imports["chainrule"] / imports["numpy"]
    print(f"import chainrule / import numpy: {imports['chainrule']:.3f} s / {imports['numpy']:.3f} s = {ratio:.2f}")


if __name__ == "__main__":
    main()
