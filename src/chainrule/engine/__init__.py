"""Derivatives of NumPy code: Tensors that remember how they were made, and the functions that follow from them."""

from chainrule.engine.autodiff import custom_vjp, elementwise, grad, hessian, jacobian, jvp, value_and_grad, vjp
from chainrule.engine.tensor import Tensor, detect_nan, no_grad

# Without the modules, which `from chainrule.engine import *` would bring as well.
__all__ = [
    "Tensor",
    "custom_vjp",
    "detect_nan",
    "elementwise",
    "grad",
    "hessian",
    "jacobian",
    "jvp",
    "no_grad",
    "value_and_grad",
    "vjp",
]
