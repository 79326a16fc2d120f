"""chainrule: neural networks that show their work.

Write the forward pass in NumPy; get the backward pass, derivatives of derivatives, and the program as a graph.
"""

from typing import TYPE_CHECKING, Any

from chainrule.engine import *
from chainrule.engine.tensor import tensor as tensor
from chainrule.errors import ChainruleError as ChainruleError
from chainrule.graph import Graph as Graph
from chainrule.graph import derive as derive
from chainrule.graph import trace as trace
from chainrule.ops import *
from chainrule.ops.op import Op as Op
from chainrule.ops.op import example as example

if TYPE_CHECKING:
    from chainrule.compiler.compilation import compile as compile
    from chainrule.nn.init import manual_seed as manual_seed
    from chainrule.train import Trainer as Trainer
    from chainrule.written import longhand as longhand

__version__ = "0.1.0"

_LAZY = {
    "Trainer": "chainrule.train",
    "compile": "chainrule.compiler.compilation",
    "longhand": "chainrule.written",
    "manual_seed": "chainrule.nn.init",
}


def __getattr__(name: str) -> Any:
    """What costs an import of its own is imported at its first use: `cr.Trainer`, `cr.nn`."""
    from importlib import import_module

    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in ("check", "compiler", "data", "lab", "nn", "optim", "scalar", "train", "written"):
        return import_module(f"chainrule.{name}")
    raise AttributeError(f"chainrule has no attribute '{name}'")
