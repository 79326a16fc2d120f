"""`SealedDataset`: a test set that is opened once, at the end. Each look at it makes its result a little less true."""

from chainrule.data.dataset import Dataset
from chainrule.errors import SealedError, user_line


class SealedDataset:
    """A test set whose data cannot be reached before it is opened, and which opens once.

    Its length and its description can always be read. A copy is the same seal, so that the set opens once all the same;
    a pickle keeps whether it was opened, and otherwise is as good as loading the data again.

    Parameters
    ----------
    dataset : Dataset
    locked : str, optional
        Why it does not open and what to do, as a sentence. Without it, it opens.
    """

    __slots__ = ("__dataset", "__locked", "__opened")

    def __init__(self, dataset: Dataset, locked: str | None = None) -> None:
        self.__dataset, self.__locked = dataset, locked
        self.__opened: str | None = None

    def open(self) -> Dataset:
        """The test set.

        Raises
        ------
        SealedError
            If it is locked, or has been opened before.
        """
        if self.__locked is not None:
            raise SealedError(f"The test set '{self.__dataset.name}' is sealed: {self.__locked}")
        if self.__opened is not None:
            raise SealedError(
                f"The test set '{self.__dataset.name}' has been opened already, at {self.__opened}: it opens once. "
                "Keep what open() returned, or load the data again for another final run."
            )
        self.__opened = user_line()
        return self.__dataset

    def __copy__(self) -> "SealedDataset":
        return self

    def __deepcopy__(self, memo: object) -> "SealedDataset":
        return self

    def __len__(self) -> int:
        return len(self.__dataset)

    def __repr__(self) -> str:
        state = "sealed" if self.__locked else f"opened at {self.__opened}" if self.__opened else "not opened yet"
        return f"SealedDataset('{self.__dataset.name}': {len(self):,} samples, {state})"
