"""PyTorch as an oracle: each differentiable op has PyTorch's values and gradients in float64, and a hundred steps of
training end at the same weights.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_checks import Case, derivable_cases, loss

import chainrule as cr
from chainrule import nn, optim
from chainrule.check.numeric import relative_error
from chainrule.ops.op import OPS

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers
functional = torch.nn.functional

AGREE = 1e-10


def getitem(x: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    for axis, part in enumerate(index):  # PyTorch's slices have no negative steps
        if isinstance(part, slice) and (part.step or 1) < 0:
            assert part.start is part.stop is None
            x = torch.flip(x, (axis,))
    forward = (slice(None) if isinstance(part, slice) and (part.step or 1) < 0 else part for part in index)
    rest = iter(arrays)
    return x[tuple(next(rest) if isinstance(part, str) else part for part in forward)]


def scatter_add(x: Any, *arrays: Any, index: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
    size = int(np.prod(shape))
    positions = getitem(torch.arange(size).reshape(shape), *arrays, index=index)
    return torch.zeros(size, dtype=x.dtype).index_add(0, positions.reshape(-1), x.reshape(-1)).reshape(shape)


def cross_entropy(logits: Any, targets: Any) -> Any:
    classes_second = torch.movedim(logits, -1, 1)
    if targets.is_floating_point():
        targets = torch.movedim(targets, -1, 1)
    return functional.cross_entropy(classes_second, targets, reduction="none")


def pad(x: Any, widths: Any, value: float) -> Any:
    return functional.pad(x, [n for pair in reversed(widths) for n in pair], value=value) if widths else x


def number(x: Any) -> Any:
    return x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64)


def reduced(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis, keepdims: f(x, dim=axis, keepdim=keepdims) if axis else f(x.reshape(1), dim=0)


# Each op as PyTorch has it. An op that is missing here fails a test.
IN_TORCH: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "subtract": lambda a, b: a - b,
    "multiply": torch.mul,
    "divide": torch.div,
    "negative": torch.neg,
    "power": torch.pow,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "sin": torch.sin,
    "cos": torch.cos,
    "abs": torch.abs,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "where": lambda condition, a, b: torch.where(condition, number(a), number(b)),
    "matmul": torch.matmul,
    "sum": reduced(torch.sum),
    "mean": reduced(torch.mean),
    "max": reduced(torch.amax),
    "min": reduced(torch.amin),
    "logsumexp": reduced(torch.logsumexp),
    "cumsum": lambda x, axis: torch.cumsum(x, axis),
    "reshape": lambda x, shape: torch.reshape(x, shape),
    "transpose": lambda x, order: torch.permute(x, order),
    "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
    "sum_to": lambda x, shape: x.sum_to_size(shape),
    "concatenate": lambda *xs, axis: torch.cat(xs, axis),
    "pad": pad,
    "cast": lambda x, dtype: x.to(getattr(torch, dtype.name)),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "softplus": functional.softplus,
    "erf": torch.erf,
    "getitem": getitem,
    "scatter_add": scatter_add,
    "softmax": lambda x, axis: torch.softmax(x, axis),
    "log_softmax": lambda x, axis: torch.log_softmax(x, axis),
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": lambda x, t: functional.binary_cross_entropy_with_logits(
        *torch.broadcast_tensors(x, t), reduction="none"
    ),
}

# Functions that are composed of ops, as PyTorch has them.
COMPOSED: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "gelu": (cr.gelu, functional.gelu),
    "silu": (cr.silu, functional.silu),
    "elu": (cr.elu, functional.elu),
    "leaky_relu": (cr.leaky_relu, functional.leaky_relu),
    "var": (lambda x: cr.var(x, axis=1, ddof=1), lambda x: torch.var(x, 1)),
    "std": (lambda x: cr.std(x, axis=0), lambda x: torch.std(x, 0, correction=0)),
    "clip": (lambda x: cr.clip(x, -0.5, 0.5), lambda x: torch.clip(x, -0.5, 0.5)),
    "normalize": (lambda x: cr.normalize(cr.exp(x)), lambda x: functional.normalize(torch.exp(x), 1, -1)),
    "norm": (np.linalg.norm, torch.linalg.norm),
    "min": (lambda x: cr.min(x, axis=1), lambda x: torch.amin(x, 1)),
    "lecun_tanh": (cr.lecun_tanh, lambda x: 1.7159 * torch.tanh(2 * x / 3)),
    "stack": (lambda x: cr.stack([x, x * x], 1), lambda x: torch.stack([x, x * x], 1)),
    "expand": (lambda x: cr.expand(x[:, :1], 16), lambda x: x[:, :1].expand(-1, 16)),
    "einsum": (lambda x: cr.einsum("ij,kj,kl->il", x, x, x), lambda x: torch.einsum("ij,kj,kl->il", x, x, x)),
    "einsum of one": (lambda x: cr.einsum("ij->j", x), lambda x: torch.einsum("ij->j", x)),
    "logaddexp": (lambda x: np.logaddexp(x[0], x[1]), lambda x: torch.logaddexp(x[0], x[1])),
    "mean_squared_error": (
        lambda x: cr.mean_squared_error(x, np.ones((3, 4))),
        lambda x: functional.mse_loss(x, torch.ones(3, 4, dtype=torch.float64)),
    ),
}


def test_every_differentiable_op_has_its_counterpart() -> None:
    differentiable = {op.name for op in OPS.values() if not op.no_gradient}
    assert differentiable == set(IN_TORCH), "IN_TORCH must say what each differentiable op is in PyTorch"


@pytest.mark.parametrize("case", derivable_cases(), ids=str)
def test_values_and_gradients_are_pytorchs(case: Case) -> None:
    ours = [cr.tensor(x, requires_grad=True) for x in case.arguments]
    value = case.call(*ours)
    loss(case, *ours).backward()

    inputs = [torch.tensor(x) if isinstance(x, np.ndarray) else x for x in case.inputs]
    theirs = [inputs[i].requires_grad_() for i in case.floats]
    y = IN_TORCH[case.op.name](*inputs, **case.attributes)
    p = torch.tensor(case.random.normal(size=tuple(y.shape)))
    (p * y + y * y / 2).sum().backward()

    assert relative_error(value.value, y.detach().numpy()) <= AGREE
    for a, b in zip(ours, theirs, strict=True):
        assert relative_error(a.grad, b.grad.numpy(), scale=1e-4) <= AGREE


@pytest.mark.parametrize(("ours", "theirs"), COMPOSED.values(), ids=COMPOSED)
def test_composed_functions_are_pytorchs_to_second_order(ours: Callable[..., Any], theirs: Callable[..., Any]) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    t = torch.tensor(x, requires_grad=True)
    y = theirs(t)
    (first,) = torch.autograd.grad((y**2).sum(), t, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), t)
    gradient = cr.grad(lambda x: (ours(x) ** 2).sum())
    assert relative_error(ours(cr.tensor(x)).value, y.detach().numpy()) <= AGREE
    assert relative_error(gradient(x), first.detach().numpy()) <= AGREE
    assert relative_error(cr.grad(lambda x: (gradient(x) ** 2).sum())(x), second.numpy()) <= AGREE


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_a_hundred_steps_of_training_end_at_pytorchs_weights(activation: str, momentum: float) -> None:
    random = np.random.default_rng(5)
    x = random.normal(size=(40, 6))
    t = np.argmax(x[:, :3], axis=1)
    start = [random.normal(size=s) / 2 for s in ((6, 8), (8,), (8, 3), (3,))]

    ours = [nn.Parameter(p) for p in start]
    theirs = [torch.tensor(p, requires_grad=True) for p in start]
    our_optimizer = optim.SGD(ours, lr=0.3, momentum=momentum)
    their_optimizer = torch.optim.SGD(theirs, lr=0.3, momentum=momentum)
    losses = []
    for step in range(100):
        batch = slice(step % 4 * 10, step % 4 * 10 + 10)

        W1, b1, W2, b2 = ours
        our_loss = cr.cross_entropy(getattr(cr, activation)(x[batch] @ W1 + b1) @ W2 + b2, t[batch])
        our_optimizer.zero_grad()
        our_loss.backward()
        our_optimizer.step()

        W1, b1, W2, b2 = theirs
        logits = getattr(torch, activation)(torch.tensor(x[batch]) @ W1 + b1) @ W2 + b2
        their_loss = functional.cross_entropy(logits, torch.tensor(t[batch]))
        their_optimizer.zero_grad()
        their_loss.backward()
        their_optimizer.step()
        losses.append((our_loss.item(), their_loss.item()))

    first, last = np.mean(losses[:4], axis=0), np.mean(losses[-4:], axis=0)
    assert last[0] < 0.8 * first[0], "the training must move"
    assert relative_error(*np.transpose(losses)) <= AGREE
    for a, b in zip(ours, theirs, strict=True):
        assert relative_error(a.value, b.detach().numpy()) <= AGREE
