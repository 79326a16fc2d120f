"""Optimisers, with PyTorch's names."""

from chainrule.optim.optimizer import SGD as SGD
from chainrule.optim.optimizer import Optimizer as Optimizer
