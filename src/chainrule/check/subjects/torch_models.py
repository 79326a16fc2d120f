"""PyTorch's models as Subjects. This file is only imported where somebody brings one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from chainrule.check.subjects.calls import quietly
from chainrule.check.subjects.interface import Array, Subject, listed, losses
from chainrule.check.subjects.places import checked_names
from chainrule.check.subjects.snapshots import Snapshot
from chainrule.errors import ChainruleError, ShapeError


class TorchModel(Subject):
    """A `torch.nn.Module` with a loss of (outputs, targets), and an optimizer if it can be trained.

    Outputs, loss and gradients are those of evaluation mode; `update` is one step of the optimizer in training mode.
    Integer targets become `int64`, floats the dtype of the parameters.
    """

    def __init__(self, model: Any, loss: Any, optimizer: Any = None, lr: float = 0.1) -> None:
        super().__init__(type(model).__name__, lr)
        if isinstance(loss, str):
            losses(loss)  # refuses a name that is not known
            loss = torch.nn.CrossEntropyLoss() if loss.startswith("cross") else torch.nn.MSELoss()
        if not callable(loss):
            raise ChainruleError(
                f"as_subject: a PyTorch model comes with a loss such as torch.nn.CrossEntropyLoss(); found {loss!r}. "
                "Pass loss=..."
            )
        if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
            raise ChainruleError(f"as_subject: the optimizer is {optimizer!r}; expected one of torch.optim's.")
        self.model, self.loss_function, self.optimizer = model, loss, optimizer
        reduction = getattr(loss, "reduction", None)
        self.reduction = reduction if reduction in ("mean", "sum") else None
        if isinstance(loss, torch.nn.CrossEntropyLoss) or loss is torch.nn.functional.cross_entropy:
            self.loss_kind = "other" if getattr(loss, "weight", None) is not None else "cross-entropy"
        elif isinstance(loss, torch.nn.Module):
            self.loss_kind = "other"

    @property
    def parameters(self) -> dict[str, Array]:
        return {name: _array(p) for name, p in self.model.named_parameters()}

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        own = dict(self.model.named_parameters())
        checked_names(values, own)
        for name, value in values.items():
            if np.shape(value) != tuple(own[name].shape):
                raise ShapeError(
                    f"set_parameters: '{name}' has the shape {tuple(own[name].shape)}, the new value {np.shape(value)}."
                )
            with torch.no_grad():
                own[name].copy_(torch.as_tensor(np.array(value), dtype=own[name].dtype))

    def offers(self, what: str) -> bool:
        return what != "update" or self.optimizer is not None

    def predict(self, x: Any) -> Array:
        with torch.no_grad(), _Mode(self.model, False):
            return _array(quietly(self.model, self._tensor(x)))

    def loss(self, x: Any, t: Any) -> float:
        with torch.no_grad(), _Mode(self.model, False):
            return float(quietly(self._compute, x, t))

    def gradients(self, x: Any, t: Any) -> dict[str, Array] | None:
        own = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        with torch.enable_grad(), _Mode(self.model, False):
            found = torch.autograd.grad(quietly(self._compute, x, t), list(own.values()), allow_unused=True)
        return {n: np.zeros(p.shape) if g is None else _array(g) for (n, p), g in zip(own.items(), found, strict=True)}

    def update(self, x: Any, t: Any) -> None:
        if self.optimizer is None:
            raise self._missing("update", "it came without an optimizer; pass optimizer=torch.optim.SGD(...)")
        with torch.enable_grad(), _Mode(self.model, True):
            self.optimizer.zero_grad()
            quietly(self._compute, x, t).backward()
            self.optimizer.step()

    def snapshot(self) -> Snapshot:
        return Snapshot(self.model, self.loss_function, self.optimizer)

    def recognised(self) -> str:
        step = "no optimizer" if self.optimizer is None else type(self.optimizer).__name__
        loss = getattr(self.loss_function, "__name__", type(self.loss_function).__name__)
        return f"{self.name} of PyTorch: parameters {listed(list(self.parameters))}; loss {loss}; {step}."

    def _compute(self, x: Any, t: Any) -> Any:
        return self.loss_function(self.model(self._tensor(x)), self._tensor(t))

    def _tensor(self, array: Any) -> Any:
        array, first = np.array(array), next(self.model.parameters(), torch.zeros(0))
        return torch.as_tensor(
            array, dtype=first.dtype if array.dtype.kind == "f" else torch.int64, device=first.device
        )


class _Mode:
    """Training or evaluation mode for a while; the modes of all parts are put back."""

    def __init__(self, model: Any, training: bool) -> None:
        self.before = [(m, m.training) for m in model.modules()]
        self.model, self.training = model, training

    def __enter__(self) -> None:
        self.model.train(self.training)

    def __exit__(self, *_: object) -> None:
        for m, mode in self.before:
            m.training = mode


def _array(tensor: Any) -> Array:
    return np.array(tensor.detach().cpu().numpy())
