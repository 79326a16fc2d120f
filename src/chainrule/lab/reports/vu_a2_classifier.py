"""VU Amsterdam, Deep Learning 2020, assignment 2, its last question: a convolutional classifier of CIFAR-10, trained by
SGD and by Adam. What is compared and drawn of it is in `vu_a2_classes.py`.

Where CIFAR-10 cannot be had, the same network is trained on a stand-in, whose figures are shown and not judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError, DivergenceError
from chainrule.lab.experiment import Experiment, Result

DATA, STAND_INS = "cifar-10", ("fashion-mnist", "mnist")
BATCH = 4
EXAMPLES = 5  # so many pictures that were recognised are kept, and as many that were not


@dataclass(frozen=True)
class Training:
    """How the network is trained; and the per cent of test images right after each epoch as measured with PyTorch, one
    seed: a guide, which is none of the report's figures.
    """

    optimizer: str
    lr: float
    epochs: int
    measured: tuple[str, ...] = ()


# The report's two epochs of Adam at .001 are the first two of its five here: with one seed it is the same training.
TRAININGS = {
    "SGD": Training("SGD", 1e-3, 2, ("48.7", "53.5")),
    "Adam": Training("Adam", 1e-3, 5, ("50.8", "56.4")),
    "Adam, lr .1": Training("Adam", 0.1, 2),
}


def experiments(quick: bool) -> list[Experiment]:
    """All trainings, on all images or on a tenth of them.

    Which data they are on is an argument, so that no result from a stand-in is used again once CIFAR-10 is there.
    """
    settings = {"data": source(), "part": 10 if quick else 1}
    seeds = range(1 if quick else 3)
    return [Experiment(job(name), train, seeds, {"training": name, **settings}) for name in TRAININGS]


def job(training: str) -> str:
    """What the results of a training are kept under."""
    return f"classifier, {training}"


def source() -> str:
    """CIFAR-10, else Fashion-MNIST, if somebody has got them; else MNIST, which is packaged. Nothing is fetched."""
    return next((name for name in (DATA, *STAND_INS) if _is_here(name)), STAND_INS[-1])


def _is_here(name: str) -> bool:
    from chainrule.data.catalogue import where

    try:
        return where(name) != "not here"
    except DataError:  # there is no folder to look in
        return False


def train(seed: int, training: str, data: str, part: int) -> Result:
    """Train on one `part`-th of the images; after each epoch, count which test images are taken for what.

    A training whose loss is no longer a number ends there, and has no scores from that epoch on.
    """
    import chainrule as cr
    from chainrule import nn

    train, test, names = _load(data, part)
    cr.manual_seed(seed)
    model = network(train.image_shape, seed)
    looks, how = _looks(test), TRAININGS[training]
    trainer = cr.Trainer(model, nn.CrossEntropyLoss(), _optimizer(how, model), callbacks=[looks])
    diverged = None
    try:
        trainer.fit(train, test, epochs=how.epochs, batch_size=BATCH, progress=False)
    except DivergenceError:
        diverged = trainer.epoch
    return {
        "data": data,
        "classes": names,
        "parameters": sum(p.size for p in model.parameters()),
        "diverged": diverged,
        "confusion": looks.confusion,
        "examples": looks.examples,
        **{name: trainer.history.series.get(name.replace(" ", "_"), []) for name in SCORES},
    }


SCORES = ("train loss", "validation loss", "train accuracy", "validation accuracy")


def _looks(test: Any) -> Any:
    """A callback that keeps the confusion matrix of each epoch, and the examples of the last."""
    from chainrule.train import Callback, confusion_matrix

    class Looks(Callback):
        def __init__(self) -> None:
            self.confusion: list[Any] = []
            self.examples: list[dict[str, Any]] = []

        def on_epoch_end(self, trainer: Any, epoch: int, scores: Any) -> None:
            outputs = trainer.model.predict(test)
            self.confusion.append(confusion_matrix(outputs, test.targets).counts)
            self.examples = _examples(test, outputs.argmax(axis=1))

    return Looks()


def _load(data: str, part: int) -> tuple[Any, Any, Sequence[str]]:
    """Images for training and for the test, -1 to 1, and what the classes are called."""
    from chainrule.data import load

    splits = load(data, split="vu-a2")
    train, test = splits.train, splits.validation
    assert test is not None  # this split validates on the test file
    names = train.class_names or tuple(map(str, range(10)))
    return train.subset(slice(len(train) // part)), test.subset(slice(len(test) // part)), names


def network(image_shape: tuple[int, ...], seed: int) -> Any:
    """3.6: conv 5×5 to 6 channels, pool, conv 5×5 to 16, pool, 120-84-10, with ReLU; (3, 32, 32) or (28, 28)."""
    from chainrule import nn

    rng = np.random.default_rng(seed)
    *channels, height, width = image_shape
    features = 16 * math.prod(((size - 4) // 2 - 4) // 2 for size in (height, width))

    def layer(cls: Any, n: int, m: int, *kernel: int) -> Any:
        """Weights and biases uniform within ±1/√fan_in, as the layers of PyTorch begin, which the report used."""
        bound = 1 / math.sqrt(n * math.prod(kernel) ** 2)
        init = nn.init.uniform(-bound, bound)
        return cls(n, m, *kernel, weight_init=init, bias_init=init, rng=rng)

    return nn.Sequential(
        *([] if channels else [nn.Unflatten(1, (1, height, width))]),
        *(layer(nn.Conv2d, channels[0] if channels else 1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(layer(nn.Conv2d, 6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(layer(nn.Linear, features, 120), nn.ReLU()),
        *(layer(nn.Linear, 120, 84), nn.ReLU()),
        layer(nn.Linear, 84, 10),
    )


def _optimizer(training: Training, model: Any) -> Any:
    from chainrule import optim

    if training.optimizer == "SGD":
        return optim.SGD(model.parameters(), lr=training.lr, momentum=0.9)
    return optim.Adam(model.parameters(), lr=training.lr)


def _examples(test: Any, taken_for: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """The first test images that are recognised and the first that are not, with their pixels, colours last."""
    right = taken_for == test.targets
    rows = [*np.flatnonzero(right)[:EXAMPLES], *np.flatnonzero(~right)[:EXAMPLES]]
    pictures = test.inputs[rows].reshape(-1, *test.image_shape)
    return [
        {"row": row, "is": test.targets[row], "taken for": taken_for[row], "pixels": picture}
        for row, picture in zip(rows, np.moveaxis(pictures, 1, -1) if pictures.ndim == 4 else pictures, strict=True)
    ]
