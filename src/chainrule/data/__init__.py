"""Data: formats, data sets divided as the reports divide them, one's own arrays, batches, and the sealed test set."""

from chainrule.data.checked import arrays
from chainrule.data.cifar import read_cifar
from chainrule.data.csv import read_csv
from chainrule.data.dataset import Dataset
from chainrule.data.encoding import labels, one_hot
from chainrule.data.fetching import fetch
from chainrule.data.hdf5 import read_hdf5, write_hdf5
from chainrule.data.idx import read_idx
from chainrule.data.made import synthetic
from chainrule.data.npz import read_npy, read_npz
from chainrule.data.sealed import SealedDataset
from chainrule.data.splits import DataSplits, load, mnist_hdf5

__all__ = [
    "DataSplits",
    "Dataset",
    "SealedDataset",
    "arrays",
    "fetch",
    "labels",
    "load",
    "mnist_hdf5",
    "one_hot",
    "read_cifar",
    "read_csv",
    "read_hdf5",
    "read_idx",
    "read_npy",
    "read_npz",
    "synthetic",
    "write_hdf5",
]
