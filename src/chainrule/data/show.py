"""A look at one image of a data set: as characters in a terminal, or as a PNG file."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.files import read
from chainrule.errors import ChainruleError, DataError, UnknownNameError

_SHADES = (" ░▒▓█", " .:*#")  # the second for terminals that lack the first
_BRIGHTNESS = np.array([0.299, 0.587, 0.114])  # of red, green and blue, by ITU-R BT.601
_ENLARGED = 10  # pixels of the PNG file for each pixel, in both directions


def show(
    name: str,
    index: int,
    part: str = "train",
    png: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> str:
    """An image as text, with its label; or written to a PNG file.

    Parameters
    ----------
    name : str
        The data set.
    index : int
        Which image, counted from 0 in its file.
    part : {"train", "test"}
        The training or the test file.
    png : path, optional
        Write the image to this file, ten times as large.
    data_dir : path, optional
        As in `chainrule.data.load`.

    Returns
    -------
    str
        A line that names image and label, then the image, two characters a pixel: in colours, if it has any and the
        terminal says that it can show them (COLORTERM), else in shades, a photograph from its darkest to its brightest.
        Blank rows above and below a grey image are left out. With `png` only a sentence.

    Raises
    ------
    UnknownNameError, DataError
        If there is no such data set, part or image.
    ChainruleError
        If the PNG file cannot be written.
    """
    parts = dict(zip(("train", "test"), read(name, data_dir), strict=True))
    if part not in parts:
        raise UnknownNameError("part", part, parts)
    data = parts[part]
    if not 0 <= index < len(data):
        raise DataError(f"{data.name}: there is no image {index}; expected an index from 0 to {len(data) - 1}.")
    assert data.image_shape is not None
    image = data.inputs[index].reshape(data.image_shape)
    label = data.targets[index]
    called = f" ({data.class_names[label]})" if data.class_names else ""
    title = f"{name}, {part} image {index}: label {label}{called}"
    if image.ndim == 3:
        image = np.moveaxis(image, 0, -1)  # colours last, as everybody but networks has them
    if png is None:
        return f"{title}\n{_text(image)}"
    _write_png(Path(png), image)
    return f"{title}; written to {os.fspath(png)}."


def _text(image: np.ndarray[Any, Any]) -> str:
    if image.ndim == 2:
        inked = np.flatnonzero(image.any(axis=1))
        return _in_shades(image[inked[0] : inked[-1] + 1] if inked.size else image)
    if sys.stdout.isatty() and os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        return "\n".join(
            "".join(f"\x1b[48;2;{red};{green};{blue}m  " for red, green, blue in row) + "\x1b[0m" for row in image
        )
    brightness = image @ _BRIGHTNESS
    darkest = brightness.min()
    return _in_shades((brightness - darkest) * (255 / max(brightness.max() - darkest, 1)))


def _in_shades(grey: np.ndarray[Any, Any]) -> str:
    """Pixels from 0 to 255 as characters."""
    shades = _SHADES[0]
    try:
        shades.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        shades = _SHADES[1]
    levels = grey.astype(int) * len(shades) // 256
    return "\n".join("".join(shades[level] * 2 for level in row).rstrip() for row in levels)


def _write_png(path: Path, image: np.ndarray[Any, Any]) -> None:
    """Write beside the file and rename, so that the file is always whole."""
    try:
        from matplotlib.image import imsave
    except ImportError:
        raise ChainruleError('Writing a PNG file needs matplotlib: pip install "chainrule[lab]" brings it.') from None
    large = image.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)
    # Grey as three equal colours: a grey colour map would round some values.
    colours = np.stack([large] * 3, axis=-1) if image.ndim == 2 else large
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    try:
        imsave(temporary, colours, format="png")
        os.replace(temporary, path)
    except OSError as error:
        raise ChainruleError(f"{path} could not be written ({error.strerror or error}); choose another file.") from None
    finally:
        temporary.unlink(missing_ok=True)
