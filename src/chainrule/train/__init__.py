"""Training: the Trainer, its callbacks, metrics and history."""

from chainrule.train.callbacks import Callback as Callback
from chainrule.train.callbacks import ProgressBar as ProgressBar
from chainrule.train.history import History as History
from chainrule.train.history import Scores as Scores
from chainrule.train.metrics import METRICS as METRICS
from chainrule.train.trainer import Trainer as Trainer
