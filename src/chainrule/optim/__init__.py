"""Optimisers, with PyTorch's names; gradient clipping; learning-rate schedules."""

from chainrule.optim.adam import Adam as Adam
from chainrule.optim.adam import AdamW as AdamW
from chainrule.optim.clip import clip_norm as clip_norm
from chainrule.optim.clip import clip_value as clip_value
from chainrule.optim.optimizer import Optimizer as Optimizer
from chainrule.optim.rmsprop import RMSprop as RMSprop
from chainrule.optim.schedule import Constant as Constant
from chainrule.optim.schedule import Cosine as Cosine
from chainrule.optim.schedule import MultiStep as MultiStep
from chainrule.optim.schedule import ReduceOnPlateau as ReduceOnPlateau
from chainrule.optim.schedule import Schedule as Schedule
from chainrule.optim.schedule import Step as Step
from chainrule.optim.schedule import WarmUp as WarmUp
from chainrule.optim.sgd import SGD as SGD
