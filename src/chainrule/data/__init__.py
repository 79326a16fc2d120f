"""Data: formats, data sets divided as the reports divide them, one's own arrays, batches, and the sealed test set."""

from chainrule.data.checked import arrays
from chainrule.data.dataset import Dataset
from chainrule.data.encoding import labels, one_hot
from chainrule.data.idx import read_idx
from chainrule.data.sealed import SealedDataset
from chainrule.data.splits import DataSplits, load

__all__ = ["DataSplits", "Dataset", "SealedDataset", "arrays", "labels", "load", "one_hot", "read_idx"]
