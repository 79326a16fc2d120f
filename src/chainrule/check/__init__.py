"""Is this derivative right, ours or yours? So far: derivatives found by arithmetic alone, to compare with."""

from chainrule.check.numeric import central_difference as central_difference
from chainrule.check.numeric import complex_step as complex_step
from chainrule.check.numeric import forward_difference as forward_difference
from chainrule.check.numeric import mean_relative_error as mean_relative_error
from chainrule.check.numeric import numerical_gradient as numerical_gradient
from chainrule.check.numeric import relative_error as relative_error
