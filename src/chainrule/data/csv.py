"""CSV files: rows of numbers with a column of targets, read by NumPy's own reader of text.

That reader is fast and says little about what is wrong. So where it fails, the file is gone through once more with the
standard library's, which is slow and knows every line.
"""

import csv
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.checked import CLASSES_UNASKED, class_targets, is_finite
from chainrule.data.dataset import Dataset
from chainrule.data.streams import AGAIN, file_path, opened
from chainrule.errors import DataError

Array = np.ndarray[Any, Any]

_DELIMITERS = "\t;,"  # in this order: a file with ; may have decimal commas
_LONGEST_LINE = 1 << 24  # bytes
_LOOKED_AT = 1 << 16  # bytes by which header and delimiter are found out
_MISSING = {"na", "n/a", "nan", "null", "none", "?", "-"}  # how programs write that there is no value
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def read_csv(
    path: str | os.PathLike[str],
    target: str | int = -1,
    *,
    classes: int | Sequence[str] | None = None,
    regression: bool = False,
    header: bool | None = None,
    delimiter: str | None = None,
    limit: int = 2**31,
) -> Dataset:
    """A table of numbers, in which one column is to be predicted.

    Parameters
    ----------
    path : path
        A text file, UTF-8, plain or gzip (known by its content, not by its name).
    target : str or int
        The name or the index of the column to be predicted, by default the last one. All others are features.
    classes : int or sequence of str, optional
        How many classes there are, by default one more than the largest label; or their names in order, which is how
        a test file gets the numbers of its training file: `classes=train.class_names`.
    regression : bool
        Take the target as numbers to be predicted even if they are integers. Otherwise integers are labels, from 0;
        words are classes, numbered in their alphabetical order; other numbers are to be predicted.
    header : bool, optional
        Whether the first line has the names of the columns. By default it has if none of its fields is a number.
    delimiter : str, optional
        The character between fields; by default a tab, semicolon or comma, whichever divides the first two rows alike.
    limit : int
        The largest array, and the longest text, that is accepted, in bytes. A small gzip file can hold enormous ones.

    Returns
    -------
    Dataset
        Inputs are float64 (n, features), in the order of the columns. Targets are labels, int64 (n,), or float64 (n,);
        the classes' names are its `class_names`, sorted, if they are words.

    Raises
    ------
    DataError
        If there is no such file or it is no such table: the message names the line and the column of a word among the
        features, of a field that is empty, NaN or infinite, of a row that is too short or too long.
    """
    path = file_path(path, "read_csv", "a CSV file")
    if delimiter is not None and (
        not isinstance(delimiter, str) or not re.fullmatch(r"[^\w\s\"'.+-]|[\t ]", delimiter)
    ):
        raise DataError(f"{path}: delimiter is {delimiter!r}; expected a single character such as ',' or ';'.")
    table = _look(path, target, header, delimiter, limit)
    numbers, codes, words = _load(table)
    targets, count, names = _targets(table, words, codes, classes, regression)
    return Dataset(numbers, targets, classes=count, name=path.name, class_names=names)


@dataclass(frozen=True)
class _Table:
    """How a file is to be read."""

    path: Path
    delimiter: str
    header: bool
    names: tuple[str, ...]  # of the columns, for messages
    target: int
    skip: int  # lines before the first row of numbers
    limit: int


def _lines(path: Path, limit: int, columns: int = 0) -> Iterator[str]:
    """The lines of a file, as long as so many rows of numbers and so much text are within the limit."""
    with opened(path) as source:
        number = size = 0
        while line := source.stream.readline(_LONGEST_LINE):
            number, size = number + 1, size + len(line)
            if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise DataError(f"{path}: expected text in UTF-8, found UTF-16; save it as UTF-8.")
            if len(line) == _LONGEST_LINE:
                raise DataError(f"{path}: line {number} has {len(line):,} bytes or more; expected a table of text.")
            if b"\0" in line:
                raise DataError(f"{path}: line {number} has a zero byte; expected text: this is another kind of file.")
            if max(size, 8 * number * columns) > limit:
                raise DataError(
                    f"{path}: in line {number} the table is larger than the limit of {limit:,} bytes; if the file is "
                    "right, give read_csv a larger limit."
                )
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}: line {number} is no text in UTF-8 (the byte 0x{line[error.start]:02x}); save it as UTF-8."
                ) from None


def _rows(lines: Iterable[str], delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The fields of each row that is not empty, with the number of the line in which it ends."""
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        what = f"'{error}'."
        if "limit" in what:
            what = f"a field of more than {csv.field_size_limit():,} characters: is a quotation mark never closed?"
        raise DataError(f"{path}: line {reader.line_num} is no row of a table, csv found {what}") from None


# --- what the file looks like


def _look(path: Path, target: str | int, header: bool | None, delimiter: str | None, limit: int) -> _Table:
    """Delimiter, header and target, from the first rows."""
    lines, size = [], 0
    for line in _lines(path, limit):
        lines.append(line)
        size += len(line)
        if size > _LOOKED_AT and len(lines) > 1:
            break
    if lines and re.fullmatch(r'\s*"?sep=.?"?\s*', lines[0], re.IGNORECASE):
        raise DataError(f"{path}: line 1 only tells a spreadsheet program the delimiter; remove the line.")
    begins = {d: list(islice(_rows(lines, d, path), 2)) for d in (delimiter or _DELIMITERS)}
    if not any(begins.values()):
        raise DataError(f"{path}: expected a table, but the file is empty; {AGAIN}.")
    delimiter, begin = next(
        ((d, rows) for d, rows in begins.items() if len({len(row) for _, row in rows}) == 1 and len(rows[0][1]) > 1),
        max(begins.items(), key=lambda item: len(item[1][0][1])),
    )
    first = begin[0][1]
    if len(first) < 2:
        raise DataError(
            f"{path}: line {begin[0][0]} has a single column; expected features and a target with a tab, ; or , "
            "between them; remove a title or comment, or say which character it is: delimiter=."
        )
    if header is None:
        header = isinstance(target, str) or _is_header(path, [row for _, row in begin])
    if header and len(begin) < 2:
        raise DataError(f"{path}: expected rows of numbers below the header, found none.")
    names = tuple(name.strip() for name in first) if header else ()
    for i, name in enumerate(names):
        if name and name in names[:i]:
            raise DataError(
                f"{path}: columns {names.index(name) + 1} and {i + 1} are both called {_shown(name)}; expected a "
                "name for each."
            )
    index = _target_column(path, target, names, len(first))
    spoken = tuple(
        f"column {_shown(name)}" if name else f"column {i + 1}" for i, name in enumerate(names or [""] * len(first))
    )
    return _Table(path, delimiter, header, spoken, index, begin[0][0] if header else 0, limit)


def _is_header(path: Path, rows: list[list[str]]) -> bool:
    words = [_number(field) is None for field in rows[0]]
    if all(words):
        return True
    if rows[0] == [str(i) for i in range(len(rows[0]))] and len(rows[0]) > 2:  # as pandas names columns without names
        raise DataError(
            f"{path}: the first line counts from 0 to {len(words) - 1}, so it could be names of columns or a row: say "
            "header=True or header=False."
        )
    above = [i for i, field in enumerate(rows[-1]) if i < len(words) and words[i] and _number(field) is not None]
    if above:  # a name over numbers, or a word that does not belong there
        raise DataError(
            f"{path}: the first line has both numbers and words ({_shown(rows[0][above[0]])} in column "
            f"{above[0] + 1}), so it could be names of columns or a row: say header=True or header=False."
        )
    return False


def _target_column(path: Path, target: str | int, names: tuple[str, ...], count: int) -> int:
    if isinstance(target, str):
        if target in names:
            return names.index(target)
        there = ", ".join(map(_shown, names[:20])) + (", ..." if len(names) > 20 else "")
        raise DataError(
            f"{path}: there is no column {_shown(target)}; the columns are {there or 'without names: give an index'}."
        )
    if isinstance(target, bool) or not isinstance(target, int | np.integer) or not -count <= target < count:
        raise DataError(
            f"{path}: target is {target!r}; expected a column's name, or its index from {-count} to {count - 1}."
        )
    return int(target) % count


# --- the numbers


def _load(table: _Table) -> tuple[Array, Array, list[str]]:
    """The features; and the target as numbers of words in a list of different ones."""
    known: dict[str, int] = {}
    lines = islice(_lines(table.path, table.limit, len(table.names)), table.skip, None)
    try:
        numbers = np.loadtxt(
            lines,
            delimiter=table.delimiter,
            quotechar='"',
            comments=None,
            ndmin=2,
            converters={table.target: lambda word: known.setdefault(word.strip(), len(known))},
        )
    except DataError:
        raise
    except (ValueError, IndexError) as error:
        raise _fault(table, str(error)) from None
    except MemoryError:
        raise DataError(f"{table.path}: the table does not fit into memory.") from None
    odd = any(not word or "\n" in word for word in known)
    if odd or numbers.shape[1] != len(table.names) or not is_finite(numbers):
        raise _fault(table, "a field is none that can be read")
    codes = numbers[:, table.target].astype(np.int64)
    return np.delete(numbers, table.target, axis=1), codes, list(known)


def _fault(table: _Table, said: str) -> DataError:
    """What is wrong with the first row that is wrong."""
    count = len(table.names)
    lines = _lines(table.path, table.limit)
    for line, row in _rows(lines, table.delimiter, table.path):
        if line <= table.skip or (len(row) == count and _is_right(row, table.target)):
            continue
        where = f"{table.path}: line {line}"
        if len(row) != count:
            hint = " If that is a title or a comment, remove it." if line == 2 else ""
            return DataError(
                f"{where} has {len(row):,} field{'s' * (len(row) > 1)}; expected {count:,}, as in the first row.{hint}"
            )
        for i, field in enumerate(row):
            what = _wrong(field, i == table.target)
            if what:
                return DataError(f"{where}, {table.names[i]}: {what}.")
    return DataError(f"{table.path}: the table cannot be read, NumPy says '{' '.join(said.split())}'.")


def _is_right(row: list[str], target: int) -> bool:
    """A quick look at a row; what is not right here may still be."""
    word, features = row[target].strip(), row[:target] + row[target + 1 :]
    text = "".join(features)
    try:
        fits = bool(word) and "\n" not in word + text and "_" not in text and text.isascii()
        return fits and isfinite(sum(map(float, features)))
    except ValueError:
        return False


def _wrong(field: str, is_target: bool) -> str | None:
    """What is wrong with a field."""
    number = _number(field)
    if not field.strip():
        return "the field is empty; fill it in, or remove the row"
    if "\n" in field:
        return "a quotation mark before it is never closed; correct it"
    if is_target:
        return None
    if number is None:
        return f"expected a number, found {_shown(field)}; {_advice(field)}"
    if not isfinite(number):
        return f"expected a finite number, found {_shown(field)}; fill it in, or remove the row"
    return None


def _number(field: str) -> float | None:
    """A number as NumPy reads it, which is as Python does but for 1_000 and digits of other scripts."""
    if "_" in field or not field.strip().isascii():
        return None
    try:
        return float(field)
    except ValueError:
        return None


def _shown(field: str) -> str:
    return repr(field if len(field) <= 40 else field[:40] + "...")


def _advice(field: str) -> str:
    if re.fullmatch(r"\s*[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?\s*", field):
        return "leave out the comma between thousands, or write a point if it is a decimal comma"
    if _number(field.replace(",", ".", 1)) is not None:
        return "write a point in place of the decimal comma"
    return "give each word a number, or remove the column"


# --- the target


def _targets(
    table: _Table, words: list[str], codes: Array, classes: int | Sequence[str] | None, regression: bool
) -> tuple[Array, int | None, list[str] | None]:
    """Targets, how many classes they have, and the classes' names."""
    where = f"{table.path}: {table.names[table.target]}"
    if regression:
        if classes is not None:
            raise DataError(f"{where}: regression has no classes, but classes is {classes!r}; leave one of them out.")
        return _floats(table, where, words)[codes], None, None
    if classes is not None and not isinstance(classes, int | np.integer):
        return _named(where, words, _class_names(where, classes), codes)
    if all(_INTEGER.fullmatch(word) for word in words):
        return *_labels(where, np.array([int(word) for word in words])[codes], classes), None
    numeric = [_number(word) is not None for word in words]
    if all(numeric) and classes is None:
        return _floats(table, where, words)[codes], None, None
    for word in words:
        if word.casefold() in _MISSING:
            raise DataError(
                f"{_place_of(table, word)}: {_shown(word)} stands for a missing value; remove the row, or if it is a "
                "class, give all of their names: classes=[...]."
            )
    if any(numeric):
        raise DataError(
            f"{where}: expected labels, or numbers, or words, found {_shown(words[numeric.index(True)])} "
            + ("" if all(numeric) else f"beside {_shown(words[numeric.index(False)])}")
            + "; if these are names of classes, give all of them: classes=[...]."
        )
    names = sorted(words)
    if len(names) > CLASSES_UNASKED or classes not in (None, len(names)):
        raise DataError(
            f"{where}: found {len(names):,} different words; expected at most {classes or CLASSES_UNASKED:,} classes, "
            "or all of their names: classes=[...]."
        )
    return _named(where, words, names, codes)


def _named(where: str, words: list[str], names: list[str], codes: Array) -> tuple[Array, int, list[str]]:
    label = {name: i for i, name in enumerate(names)}
    unknown = [word for word in words if word not in label]
    if unknown:
        raise DataError(f"{where}: {_shown(unknown[0])} is none of the {len(names)} names in classes.")
    return np.array([label[word] for word in words], np.int64)[codes], len(names), names


def _floats(table: _Table, where: str, words: list[str]) -> Array:
    """The words as numbers."""
    numbers = [_number(word) for word in words]
    for word, number in zip(words, numbers, strict=True):
        if number is None or not isfinite(number):
            raise DataError(f"{_place_of(table, word)}: expected a finite number, found {_shown(word)}.")
    return np.array(numbers, np.float64)


def _place_of(table: _Table, word: str) -> str:
    """Where a word first is among the targets."""
    rows = _rows(_lines(table.path, table.limit), table.delimiter, table.path)
    line = next(line for line, row in rows if line > table.skip and row[table.target].strip() == word)
    return f"{table.path}: line {line}, {table.names[table.target]}"


def _labels(where: str, labels: Array, classes: int | np.integer[Any] | None) -> tuple[Array, int | None]:
    if labels.min() < 0:
        few = sorted(set(labels.tolist()))[:20]
        raise DataError(
            f"{where}: labels count from 0, found {few[0]}; name the classes in their order, classes="
            f"{[str(label) for label in few]}, or say regression=True if they are numbers to be predicted."
        )
    return class_targets(labels, None if classes is None else int(classes), where, "say regression=True")


def _class_names(where: str, classes: Sequence[str]) -> list[str]:
    names = list(classes) if isinstance(classes, Iterable) and not isinstance(classes, str) else []
    if not names or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{where}: classes is {classes!r}; expected a number, or a different name for each class.")
    return names
