"""Everything that can be computed: one class an op. The functions here take arrays, Tensors and Symbols alike."""

from chainrule.ops import (
    activation,
    arithmetic,
    comparison,
    control,
    convolution,
    indexing,
    loss,
    pooling,
    product,
    reduction,
    structure,
)
from chainrule.ops import chance as chance
from chainrule.ops import numpy_names as numpy_names
from chainrule.ops.activation import *
from chainrule.ops.arithmetic import *
from chainrule.ops.comparison import *
from chainrule.ops.control import *
from chainrule.ops.convolution import *
from chainrule.ops.indexing import *
from chainrule.ops.loss import *
from chainrule.ops.pooling import *
from chainrule.ops.product import *
from chainrule.ops.reduction import *
from chainrule.ops.structure import *

# The functions alone: `from chainrule.ops import *` brings no module.
__all__: list[str] = []
__all__ += activation.__all__
__all__ += arithmetic.__all__
__all__ += comparison.__all__
__all__ += control.__all__
__all__ += convolution.__all__
__all__ += indexing.__all__
__all__ += loss.__all__
__all__ += pooling.__all__
__all__ += product.__all__
__all__ += reduction.__all__
__all__ += structure.__all__
