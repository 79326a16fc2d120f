"""Derivatives of NumPy code: Tensors that remember how they were made, and the functions that follow from them."""

from chainrule.engine.autodiff import custom_vjp as custom_vjp
from chainrule.engine.autodiff import elementwise as elementwise
from chainrule.engine.autodiff import grad as grad
from chainrule.engine.autodiff import hessian as hessian
from chainrule.engine.autodiff import jacobian as jacobian
from chainrule.engine.autodiff import jvp as jvp
from chainrule.engine.autodiff import value_and_grad as value_and_grad
from chainrule.engine.autodiff import vjp as vjp
from chainrule.engine.tensor import Tensor as Tensor
from chainrule.engine.tensor import detect_nan as detect_nan
from chainrule.engine.tensor import no_grad as no_grad
