"""Networks: modules, layers, initialisers and losses, with PyTorch's names."""

from chainrule.nn import init as init
from chainrule.nn.files import load as load
from chainrule.nn.init import manual_seed as manual_seed
from chainrule.nn.layers import Flatten as Flatten
from chainrule.nn.layers import Linear as Linear
from chainrule.nn.layers import ReLU as ReLU
from chainrule.nn.layers import Sequential as Sequential
from chainrule.nn.layers import Sigmoid as Sigmoid
from chainrule.nn.layers import Softmax as Softmax
from chainrule.nn.layers import Softplus as Softplus
from chainrule.nn.layers import Tanh as Tanh
from chainrule.nn.losses import CrossEntropyLoss as CrossEntropyLoss
from chainrule.nn.losses import Loss as Loss
from chainrule.nn.losses import MSELoss as MSELoss
from chainrule.nn.module import Module as Module
from chainrule.nn.module import Parameter as Parameter
