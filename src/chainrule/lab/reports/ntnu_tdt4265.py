"""NTNU, TDT4265, assignment 2: a softmax network with the "tricks of the trade", early stopping, and how wide or deep.

The report does not say by which rule it stopped early. Ours: stop when the validation loss has not fallen for PATIENCE
epochs. Every network is trained for 50 epochs; "stopped" is the state in which that rule would have left it. Where the
report prints its own stopping epoch, the same training is compared after that epoch too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.lab.experiment import Experiment, Report, Result, Results
from chainrule.lab.figures import Curve, Mark, Panel, curves
from chainrule.lab.verdict import Judge, Row
from chainrule.optim.watch import Watch

judge = Judge("ntnu-tdt4265")

LOSS = "cross-entropy in nats, mean per sample"
ACCURACY = "share right"
BATCH, EPOCHS, PATIENCE = 32, 50, 10
ZERO = "0.000000000000"


@dataclass(frozen=True)
class Network:
    """One row of 5.6: which tricks, how wide and deep; and its printed training and validation loss and accuracy."""

    hidden: tuple[int, ...]
    init: bool
    improved: bool
    momentum: bool
    reported: tuple[str, str, str, str]
    stopped: str | None = None  # after which epoch the report stopped, and printed these figures
    rerun: str | None = None  # after which epoch it stopped when trained again, with figures not printed


NETWORKS = {
    "base": Network((64,), False, False, False, (".0777", ".2994", ".9823", ".9164")),
    "+ init": Network((64,), True, False, False, (".01390", ".1426", ".99955", ".958")),
    "+ improved sigmoid": Network((64,), True, True, False, (".00387", ".14863", ".99995", ".9617")),
    "+ momentum": Network((64,), True, True, True, (".00161", ".16121", "1.0", ".9619"), rerun="17"),
    "32 hidden": Network((32,), True, True, True, (".01286", ".21463", ".99805", ".9493")),
    "128 hidden": Network((128,), True, True, True, (".00082", ".13286", "1.0", ".9693"), "17"),
    "64-64": Network((64, 64), True, True, True, (".00058", ".16826", "1.0", ".9642"), "16"),
    "ten layers of 64": Network((64,) * 10, True, True, True, (".06465", ".21287", ".98095", ".9477"), "25"),
}
LABELS = {"+ momentum": "64 hidden, all tricks"}
# 5.9: what each figure shows and by which networks, under the end of its file's name.
FIGURES = {
    "init": ("init, with and without", ["base", "+ init"]),
    "improved-sigmoid": ("improved sigmoid, with and without", ["+ init", "+ improved sigmoid"]),
    "momentum": ("momentum, with and without", ["+ improved sigmoid", "+ momentum"]),
    "width": ("32, 64 (+ momentum) and 128 hidden units", ["32 hidden", "+ momentum", "128 hidden"]),
    "64-64": ("64-64", ["+ momentum", "64-64"]),
    "ten": ("ten layers of 64", ["+ momentum", "ten layers of 64"]),
}
# 5.8: of these the gradient's norms are looked at, in the first and the last epoch.
NORMS = ("64-64", "ten layers of 64")
SCORES = ("train loss", "validation loss", "train accuracy", "validation accuracy")

# 5.7: the report counts ordinary biases, although its network has the bias trick instead.
COUNTS = {(64,): ("50890", "50880"), (64, 64): ("55050", "54976")}
WIDTH = "59.48"


def experiments(quick: bool) -> list[Experiment]:
    """List what to run: every network once a seed, the deepest first, since it takes the longest."""
    seeds = range(1) if quick else range(5)
    settings = {"epochs": 2 if quick else EPOCHS}
    deepest_first = sorted(NETWORKS, key=lambda name: -len(NETWORKS[name].hidden))
    return [
        Experiment("derivations", derivations),
        Experiment("data", standardised),
        *(Experiment(name, train, seeds, {"network": name, **settings}) for name in deepest_first),
    ]


def derivations() -> Result:
    """5.1: the update rules unit by unit and in matrices, against the engine, for a sigmoid network on one sample."""
    import chainrule as cr

    random = np.random.default_rng(0)
    x, t, alpha = random.normal(size=4), np.eye(3)[1], 0.1
    w_ji, w_kj = random.normal(size=(4, 5)), random.normal(size=(5, 3))  # input i to hidden j, hidden j to output k

    def cost(w_ji: Any, w_kj: Any) -> Any:
        return cr.cross_entropy(cr.sigmoid(x @ w_ji) @ w_kj, t, "sum")

    d_ji, d_kj = cr.grad(cost, argnums=(0, 1))(w_ji, w_kj)
    z = x @ w_ji
    a = cr.sigmoid(z)
    slope = a * (1 - a)
    delta_k = cr.softmax(a @ w_kj) - t
    delta_j = np.array([slope[j] * sum(w_kj[j, k] * delta_k[k] for k in range(3)) for j in range(5)])
    new_kj = np.array([[w_kj[j, k] - alpha * delta_k[k] * a[j] for k in range(3)] for j in range(5)])
    new_ji = np.array([[w_ji[i, j] - alpha * delta_j[j] * x[i] for j in range(5)] for i in range(4)])
    delta_z = cr.grad(lambda z: cr.cross_entropy(cr.sigmoid(z) @ w_kj, t, "sum"))(z)
    steps = {
        "w_kj := w_kj − α δ_k a_j": new_kj - (w_kj - alpha * d_kj),
        "δ_j = f'(z_j) Σ_k w_kj δ_k": delta_j - delta_z,
        "w_ji := w_ji − α δ_j x_i": new_ji - (w_ji - alpha * d_ji),
        "in matrices: W₂ := W₂ − α a δ₂ᵀ": (w_kj - alpha * np.outer(a, delta_k)) - new_kj,
        "in matrices: δ₁ = f'(z) ⊙ W₂ δ₂": slope * (w_kj @ delta_k) - delta_j,
        "in matrices: W₁ := W₁ − α x δ₁ᵀ": (w_ji - alpha * np.outer(x, delta_j)) - new_ji,
    }
    return {name: np.abs(difference).max() for name, difference in steps.items()}


def standardised() -> Result:
    """5.2: one mean and one standard deviation of the 20,000 images' pixels, and what they are afterwards."""
    mnist = _load()
    x = mnist.train.features(dtype=np.float64)
    std = 1 / mnist.train.scale
    return {
        "training": len(mnist.train),
        "validation": len(mnist.validation),
        "mean": -mnist.train.shift * std,
        "std": std,
        "new mean": x.mean(),
        "new std": x.std(),
    }


def train(seed: int, network: str, epochs: int) -> Result:
    """Train one network; its curves, when the rule would have stopped it, and for 5.8 its gradients' norms in the first
    and the last epoch: gradients can be listened to in eager mode only.
    """
    import chainrule as cr
    from chainrule import nn, optim
    from chainrule.train import GradientNorms

    mnist, spec = _load(), NETWORKS[network]
    cr.manual_seed(seed)
    model = _model(spec, seed)
    sgd = (
        optim.SGD(model.parameters(), lr=0.02, momentum=0.9) if spec.momentum else optim.SGD(model.parameters(), lr=0.1)
    )
    norms = GradientNorms()
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), sgd)
    parts = [(1, [norms]), (epochs - 2, []), (1, [norms])] if network in NORMS else [(epochs, [])]
    for count, callbacks in parts:
        if count:
            trainer.callbacks = callbacks
            trainer.fit(mnist.train, mnist.validation, epochs=count, batch_size=BATCH, progress=False)
    history = trainer.history
    return {
        "train loss": history.train_loss,
        "validation loss": history.validation_loss,
        "train accuracy": history.train_accuracy,
        "validation accuracy": history.validation_accuracy,
        "gradient norms": norms.norms,
        "parameters": sum(p.size for p in model.parameters()),
        "stop": stopping_epoch(history.validation_loss),
    }


def stopping_epoch(losses: Sequence[float]) -> int | None:
    """The epoch (from 1) after which the rule stops, as the validation loss has not fallen for PATIENCE epochs; None if
    it does not stop.
    """
    watch = Watch(rising=False, min_delta=0)
    for epoch, loss in enumerate(losses, 1):
        watch.see(loss)
        if watch.waited == PATIENCE:
            return epoch
    return None


def _load() -> Any:
    from chainrule import data

    return data.load("mnist", split="ntnu-tdt4265")


def _model(spec: Network, seed: int) -> Any:
    """Layers without biases, on inputs with a constant 1 appended."""
    from chainrule import nn

    rng = np.random.default_rng(seed)
    init = nn.init.lecun_normal if spec.init else nn.init.uniform(-1, 1)
    sizes = (785, *spec.hidden, 10)
    layers: list[Any] = [nn.AppendOne()]
    for n, m in pairwise(sizes):
        layers += [nn.Linear(n, m, bias=False, weight_init=init, rng=rng)]
        layers += [nn.LeCunTanh() if spec.improved else nn.Sigmoid()]
    return nn.Sequential(*layers[:-1])


def rows(results: Results, quick: bool) -> Iterator[Row]:
    """Compare each printed number with ours."""
    for name, difference in results["derivations"][0].items():
        yield judge.exact("5.1", f"largest difference: {name}", ZERO, difference)
    data = results["data"][0]
    yield judge.exact("5.2", "training images", "20000", data["training"])
    yield judge.exact("5.2", "validation images", "10000", data["validation"])
    yield judge.shown("5.2", "mean of the pixels", [data["mean"]], why="about 33.5 is expected")
    yield judge.shown("5.2", "standard deviation of the pixels", [data["std"]], why="about 78.9 is expected")
    yield judge.exact("5.2", "mean after standardisation", "0.000000", data["new mean"])
    yield judge.exact("5.2", "standard deviation after standardisation", "1.000000", data["new std"])
    for name, spec in NETWORKS.items():
        id = "5.3" if name == "base" else "5.4" if spec.hidden == (64,) else "5.6"
        yield judge.shown(id, f"{name}: parameters", [results[name][0]["parameters"]], why=_settings(spec))
    yield from _stops(results, quick)
    for name, spec in NETWORKS.items():
        for score, reported in zip(SCORES, spec.reported, strict=True):
            yield from _figure(name, score, reported, results[name], quick)
    for hidden, (ordinary, trick) in COUNTS.items():
        title = "-".join(map(str, (784, *hidden, 10)))
        sizes = (784, *hidden, 10)
        with_biases = sum((n + 1) * m for n, m in pairwise(sizes))
        without = sum(n * m for n, m in zip((785, *sizes[1:]), sizes[1:], strict=False))
        yield judge.exact("5.7", f"parameters of {title} with ordinary biases", ordinary, with_biases)
        yield judge.exact("5.7", f"parameters of {title} with the bias trick", trick, without)
    root = max(np.roots([1, 796, 10 - 50890]).real)
    yield judge.exact("5.7", "the width x with x² + 796x + 10 = 50,890", WIDTH, root)
    yield judge.exact("5.7", "its nearest power of two", "64", 2 ** round(math.log2(root)))
    yield from _vanishing(results)
    why = "loss and accuracy: " + "; ".join(title for title, _ in FIGURES.values())
    yield judge.shown("5.9", "figures", [len(FIGURES)], why=why)


def _figure(name: str, score: str, reported: str, runs: Sequence[Result], quick: bool) -> Iterator[Row]:
    """A figure after all epochs, where our rule would have stopped (if it would), and where the report did."""
    unit = ACCURACY if "accuracy" in score else LOSS
    epochs = len(runs[0][score])
    rule = "stopped by our rule"
    states = {f"{epochs} epochs": [epochs] * len(runs), rule: [run["stop"] or epochs for run in runs]}
    printed = NETWORKS[name].stopped
    if printed and int(printed) <= epochs:
        states[f"{printed} epochs as in the report"] = [int(printed)] * len(runs)
    for state, stops in states.items():
        ours = [run[score][stop - 1] for run, stop in zip(runs, stops, strict=True)]
        note = _how_many_stopped(runs) if state == rule else ""
        yield judge.band(
            "5.6", f"{name}: {score}, {state}", reported, ours, unit=unit, as_reported=not quick, note=note
        )


def _stops(results: Results, quick: bool) -> Iterator[Row]:
    rule = f"ours: {PATIENCE} epochs without a lower validation loss; the report's rule is not given"
    for name, spec in NETWORKS.items():
        stops = _stopped(results[name])
        quantity = f"{name}: stopped after epoch"
        note = f"{_how_many_stopped(results[name])}; {rule}"
        if printed := spec.stopped or spec.rerun:
            note += "; it stopped there in a rerun, elsewhere not" if spec.rerun else ""
            ours: list[float] = [*stops] or [math.inf] * len(results[name])  # never
            yield judge.band("5.5", quantity, printed, ours, as_reported=not quick, note=note)
        else:
            yield judge.shown("5.5", quantity, stops, why=note)


def _stopped(runs: Sequence[Result]) -> list[int]:
    """After which epoch the rule stopped, of the runs that it stopped."""
    return [run["stop"] for run in runs if run["stop"]]


def _how_many_stopped(runs: Sequence[Result]) -> str:
    return f"the rule stopped {len(_stopped(runs))} of {len(runs)} runs within {len(runs[0]['train loss'])} epochs"


def _vanishing(results: Results) -> Iterator[Row]:
    """5.8: the gradient's norm at the first layer over that at the last, in the first epoch."""
    for name in NORMS:
        ratios = []
        for run in results[name]:
            norms = list(run["gradient norms"].values())
            ratios.append(norms[0][0] / norms[-1][0])
        why = "below 1e-3 it would be vanishing by the usual rule; the report asserts it for ten layers"
        yield judge.shown("5.8", f"{name}: gradient norm, first layer / last, epoch 1", ratios, why=why)


def _settings(spec: Network) -> str:
    settings = asdict(spec)
    tricks = [name for name in ("init", "improved", "momentum") if settings[name]]
    return f"tricks: {', '.join(tricks) or 'none'}; {'lr .02, γ .9' if spec.momentum else 'lr .1'}"


def figures(results: Results, folder: Path) -> None:
    """5.9: each trick with and without; 32, 64, 128 units; 64-64; ten layers; 5.8: the gradient's norm by layer."""
    for stem, (title, names) in FIGURES.items():
        _compare(folder / f"ntnu-tdt4265-{stem}", f"5.9: {title}", names, results)
    _gradients(folder, results)


def _compare(path: Path, title: str, names: Sequence[str], results: Mapping[str, Sequence[Result]]) -> None:
    marks = _marks(names, results)
    panels = []
    for quantity, unit in (("loss", f"loss ({LOSS})"), ("accuracy", f"accuracy ({ACCURACY})")):
        lines = [
            Curve(f"{LABELS.get(name, name)}, {part}", [run[f"{part} {quantity}"] for run in results[name]], colour=i)
            for i, name in enumerate(names)
            for part in ("train", "validation")
        ]
        panels.append(Panel(unit, lines, marks, log=quantity == "loss"))
    caption = "Vertical lines are where our rule stops: the mean of the seeds that it stops, so many of all."
    curves(path, title, "epochs", panels, caption if marks else "")


def _marks(names: Sequence[str], results: Mapping[str, Sequence[Result]]) -> list[Mark]:
    """Where the rule stops each network, in the colour of its curves: the mean of the runs that it stops."""
    marks = []
    for name in names:
        if stops := _stopped(results[name]):
            label = LABELS.get(name, name)
            how_many = f"({len(stops)} of {len(results[name])})"
            marks.append(Mark(round(np.mean(stops)), f"{label}: stop {how_many}", of=f"{label}, train"))
    return marks


def _gradients(folder: Path, results: Results) -> None:
    runs = [run["gradient norms"] for run in results["ten layers of 64"]]
    layers = list(range(1, len(runs[0]) + 1))
    epochs = {"epoch 1": 0, f"epoch {len(results['ten layers of 64'][0]['train loss'])}": -1}
    lines = [Curve(label, [[v[at] for v in run.values()] for run in runs], layers) for label, at in epochs.items()]
    panel = Panel("norm of the gradient of the weights", lines, log=True)
    curves(folder / "ntnu-tdt4265-gradients", "5.8: ten hidden layers, the gradient by layer", "layer", [panel])


def network() -> tuple[Any, Any, Any]:
    """784-64-10 with all tricks, and five images' worth of zeros."""
    import chainrule as cr
    from chainrule import nn, optim

    model = _model(NETWORKS["+ momentum"], 0)
    sgd = optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return cr.Trainer(model, nn.CrossEntropyLoss(), sgd), np.zeros((5, 784), np.float32), np.arange(5)


REPORT = Report(
    "ntnu-tdt4265", "tricks of the trade, early stopping, width and depth", experiments, rows, figures, network
)
