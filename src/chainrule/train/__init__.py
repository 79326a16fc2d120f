"""Training: the Trainer, its callbacks, metrics and history."""

from chainrule.train.callbacks import Callback as Callback
from chainrule.train.callbacks import ProgressBar as ProgressBar
from chainrule.train.confusion import ConfusionMatrix as ConfusionMatrix
from chainrule.train.confusion import confusion_matrix as confusion_matrix
from chainrule.train.confusion import per_class_accuracy as per_class_accuracy
from chainrule.train.early_stopping import EarlyStopping as EarlyStopping
from chainrule.train.gradient_norms import GradientNorms as GradientNorms
from chainrule.train.history import History as History
from chainrule.train.history import Runs as Runs
from chainrule.train.history import Scores as Scores
from chainrule.train.history import over_runs as over_runs
from chainrule.train.metrics import METRICS as METRICS
from chainrule.train.trainer import Trainer as Trainer
