"""Everything that can be computed: one class an op. The functions here take arrays, Tensors and Symbols alike."""

from chainrule.ops import chance as chance
from chainrule.ops import numpy_names as numpy_names
from chainrule.ops.activation import *
from chainrule.ops.arithmetic import *
from chainrule.ops.comparison import *
from chainrule.ops.control import *
from chainrule.ops.indexing import *
from chainrule.ops.loss import *
from chainrule.ops.product import *
from chainrule.ops.reduction import *
from chainrule.ops.structure import *
