"""CIFAR-10 is read from each of its published forms, with the same result, and damaged files are refused by name."""

import gzip
import io
import os
import pickle
import stat
import tarfile

import numpy as np
import pytest
from tests.data import pickles
from tests.data.mutations import survive

from chainrule.data import load, read_cifar
from chainrule.data.cifar import BATCHES, CLASS_NAMES, find
from chainrule.data.show import show
from chainrule.errors import DataError

COUNT = 3  # images in each batch
NAMES = "\n".join(CLASS_NAMES) + "\n\n"


@pytest.fixture(scope="module")
def images():
    """Pixels (n, 3072) and labels (n,) of each batch: a few, of random bytes."""
    rng = np.random.default_rng(0)
    return {name: (rng.integers(0, 256, (COUNT, 3072), dtype=np.uint8), rng.integers(0, 10, COUNT)) for name in BATCHES}


def binary(pixels, labels):
    return np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1).tobytes()


@pytest.fixture(scope="module")
def forms(images):
    """The files of both versions, by folder and name."""
    return {
        "cifar-10-batches-bin": {
            "batches.meta.txt": NAMES.encode(),
            **{f"{name}.bin": binary(*batch) for name, batch in images.items()},
        },
        "cifar-10-batches-py": {
            "batches.meta": pickles.entries(
                label_names=pickles.listed([pickles.string(name.encode()) for name in CLASS_NAMES])
            ),
            **{name: pickles.batch(*batch) for name, batch in images.items()},
        },
    }


def archive(files, folder, mode="w:gz"):
    """The bytes of a tar archive; the files come in no order, as in the published ones."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode) as tar:
        for name, content in sorted(files.items(), key=lambda item: item[0][::-1]):
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


@pytest.fixture
def write(forms, tmp_path):
    """A function that writes a version, with some files replaced (None: left out), and returns its folder."""

    def written(folder="cifar-10-batches-bin", **replaced):
        (tmp_path / folder).mkdir()
        files = forms[folder] | {name.replace("_bin", ".bin"): content for name, content in replaced.items()}
        for name, content in files.items():
            if content is not None:
                (tmp_path / folder / name).write_bytes(content)
        return tmp_path / folder

    return written


def same(data, images, *names):
    pixels, labels = (np.concatenate(parts) for parts in zip(*(images[name] for name in names), strict=True))
    np.testing.assert_array_equal(data.inputs, pixels.reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(data.targets, labels)
    assert (data.inputs.dtype, data.targets.dtype, data.inputs.flags.c_contiguous) == (np.uint8, np.int64, True)
    assert (data.classes, data.class_names, data.image_shape) == (10, CLASS_NAMES, (3, 32, 32))


# --- what is right


@pytest.mark.parametrize("folder", ["cifar-10-batches-bin", "cifar-10-batches-py"])
def test_both_versions_hold_the_same(folder, write, images):
    train, test = read_cifar(write(folder))
    same(train, images, *BATCHES[:-1])
    same(test, images, "test_batch")
    assert (train.name, test.name) == ("cifar-10 train", "cifar-10 test")


@pytest.mark.parametrize("mode", ["w:gz", "w"])
@pytest.mark.parametrize("folder", ["cifar-10-batches-bin", "cifar-10-batches-py"])
def test_an_archive_is_read_without_being_unpacked(folder, mode, forms, images, tmp_path):
    path = tmp_path / "cifar.tar.gz"
    path.write_bytes(archive(forms[folder], folder, mode))
    train, test = read_cifar(path)
    same(train, images, *BATCHES[:-1])
    same(test, images, "test_batch")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_batches_pickled_by_todays_python(protocol, write, images):
    again = {
        name: pickle.dumps({"data": pixels, "labels": labels.tolist()}, protocol)
        for name, (pixels, labels) in images.items()
    }
    train, _ = read_cifar(write("cifar-10-batches-py", **again))
    same(train, images, *BATCHES[:-1])


def test_names_of_ones_own_classes_are_kept_and_missing_ones_are_cifars(write):
    names = [f"thing {k}" for k in range(10)]
    folder = write(**{"batches.meta.txt": "\r\n".join(names).encode()})
    assert read_cifar(folder)[0].class_names == tuple(names)
    (folder / "batches.meta.txt").unlink()
    assert read_cifar(folder)[1].class_names == CLASS_NAMES


def test_more_records_than_are_read_at_once(write):
    labels = np.arange(1001) % 10
    pixels = np.broadcast_to((labels % 251).astype(np.uint8)[:, None], (1001, 3072))
    batch = binary(pixels, labels)
    train, test = read_cifar(write(**{f"{name}_bin": batch for name in BATCHES}))
    np.testing.assert_array_equal(train.targets, np.tile(labels, 5))
    np.testing.assert_array_equal(train.inputs[:, 2, 31, 31], train.targets)
    np.testing.assert_array_equal(test.inputs[:, 0, 0, 0], labels)


@pytest.mark.parametrize("inside", ["", "cifar-10"])
@pytest.mark.parametrize("form", ["cifar-10-batches-bin", "cifar-10-batches-py", "cifar-10-binary.tar.gz", "."])
def test_it_is_found_in_a_folder(form, inside, write, forms, tmp_path):
    folder = write("cifar-10-batches-py" if form.endswith("-py") else "cifar-10-batches-bin")
    home = tmp_path / "home" / inside
    home.mkdir(parents=True)
    if form == ".":
        for path in folder.iterdir():
            path.rename(home / path.name)
    elif form.endswith(".gz"):
        (home / form).write_bytes(archive(forms["cifar-10-batches-bin"], "cifar-10-batches-bin"))
    else:
        folder.rename(home / form)
    found = find(tmp_path / "home")
    assert found == (home if form == "." else home / form)
    assert len(read_cifar(found)[1]) == COUNT
    with pytest.raises(DataError, match="split 'default' needs 50,000 training images, found 15"):
        load("cifar-10", data_dir=tmp_path / "home")


def test_an_incomplete_folder_is_passed_over(write, tmp_path):
    write(test_batch_bin=None)
    assert find(tmp_path) is None
    with pytest.raises(DataError, match=r"expected the files of cifar-10.*cifar-10-binary\.tar\.gz or cifar-10-python"):
        load("cifar-10", data_dir=tmp_path)


def test_a_photograph_is_shown_with_the_name_of_its_class(write, images, tmp_path, monkeypatch):
    write()
    monkeypatch.delenv("COLORTERM", raising=False)
    lines = show("cifar-10", 2, "test", data_dir=tmp_path).splitlines()
    label = images["test_batch"][1][2]
    assert lines[0] == f"cifar-10, test image 2: label {label} ({CLASS_NAMES[label]})"
    assert len(lines) == 33
    assert set("".join(lines[1:])) == set(" ░▒▓█")  # random bytes: from the darkest to the brightest


# --- what is wrong

RECORD = bytes(3073)
CUT = "{}: the file has {} images, but other batches have 3; expected as many in each of the six, 10,000 in"
WRONG = {
    "a missing file": ({"data_batch_2_bin": None}, r"but data_batch_2\.bin are missing.*chainrule data get cifar-10"),
    "an empty file": ({"data_batch_2_bin": b""}, r"data_batch_2\.bin: the file has 0 bytes; expected records of 3,073"),
    "half a record": ({"test_batch_bin": RECORD[:-1]}, r"test_batch\.bin: the file has 3,072 bytes"),
    "a byte more": ({"data_batch_5_bin": RECORD + b"\0"}, r"data_batch_5\.bin: the file has 3,074 bytes"),
    "an error page": ({"data_batch_1_bin": b"<html>404</html>"}, r"data_batch_1\.bin: the file has 16 bytes"),
    "label 10": (
        {"data_batch_1_bin": 2 * RECORD + b"\x0a" + RECORD[1:]},
        r"data_batch_1\.bin: 1 of 3 labels .* 10 at row 2",
    ),
    "label 255": (
        {"test_batch_bin": b"\xff" + 3 * RECORD[:-1] + b"\0\0"},
        r"test_batch\.bin: 1 of 3 labels are outside .* is 255 at",
    ),
    "two images": ({"test_batch_bin": 2 * RECORD}, CUT.format(r"test_batch\.bin", 2)),
    "four images": ({"data_batch_3_bin": 4 * RECORD}, CUT.format(r"data_batch_3\.bin", 4)),
    "nine names": ({"batches.meta.txt": b"a\n" * 9}, r"batches\.meta\.txt: expected the names of 10 classes, found 9"),
    "odd names": ({"batches.meta.txt": b"\x1b[0m\n" * 10}, r"batches\.meta\.txt: expected the names of 10 classes"),
    "a book of names": ({"batches.meta.txt": b"a\n" * 10**6}, r"has 2,000,000 bytes; expected at most 65,536"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_of_the_binary_version(case, write):
    replaced, message = WRONG[case]
    with pytest.raises(DataError, match=message) as caught:
        read_cifar(write(**replaced))
    assert "\n" not in str(caught.value)


BLACK = np.zeros((2, 3072), np.uint8)


def two(pixels=BLACK, labels=(0, 1)):
    return {"data": pixels, "labels": list(labels)}


WRONG_PICKLES = {
    "no dict": ([1], "expected a dict, found a list"),
    "no data": ({"labels": [0, 1]}, r"expected 'data', uint8 of shape \(n, 3072\), found a NoneType"),
    "other data": (two(pixels="x"), "found a str"),
    "fewer pixels": (two(pixels=np.zeros((2, 3071), np.uint8)), r"found of shape \(2, 3071\)"),
    "three axes": (two(pixels=np.zeros((2, 3, 1024), np.uint8)), r"of shape \(2, 3, 1024\)"),
    "floats": (two(pixels=np.zeros((2, 3072), np.float32)), "dtype 'f4', not uint8"),
    "objects": (two(pixels=np.zeros((2, 3072), object)), "dtype 'O8', not uint8"),
    "fewer labels": (two(labels=[0]), "a list of 2 integers, found 1 in a list"),
    "two images": (two(), "the file has 2 images, but other batches have 3; expected as many"),
    "no labels": ({"data": BLACK}, "a list of 2 integers, found a NoneType"),
    "label 10": (two(labels=[0, 10]), "the label at row 1 is '10'; expected an integer from 0 to 9"),
    "label -1": (two(labels=[-1, 0]), "the label at row 0 is '-1'"),
    "a huge label": (two(labels=[0, 2**2000]), "the label at row 1 is of type int; expected"),
    "a label that is no number": (two(labels=[0, "cat"]), "the label at row 1 is 'cat'"),
    "a label that is true": (two(labels=[0, True]), "the label at row 1 is 'True'"),
    "a label within a list": (two(labels=[0, [1]]), "the label at row 1 is of type list; expected"),
}


@pytest.mark.parametrize("case", WRONG_PICKLES)
def test_wrong_batches_of_the_python_version(case, write):
    value, message = WRONG_PICKLES[case]
    with pytest.raises(DataError, match=f"data_batch_4: .*{message}") as caught:
        read_cifar(write("cifar-10-batches-py", data_batch_4=pickle.dumps(value)))
    assert "\n" not in str(caught.value)


def test_a_batch_that_runs_a_command_is_refused_and_runs_nothing(write, tmp_path):
    class Command:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'touched'}",)

    with pytest.raises(DataError, match=r"data_batch_1: .*asks for the function '\w+\.system', that is to run code"):
        read_cifar(write("cifar-10-batches-py", data_batch_1=pickle.dumps({"data": Command()}, 2)))
    assert not (tmp_path / "touched").exists()


def laughs(names):
    for _ in range(20):
        names = [names, names]
    return [names] * 10


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "found 0"), ("cat", "found 0"), (["cat"], "found 1"), (laughs("ha"), "found 0")],
    ids=["none", "a text", "one", "a million in each"],
)
def test_wrong_names_in_the_python_version(names, message, write):
    with pytest.raises(DataError, match=rf"batches\.meta: expected the names of 10 classes, {message}"):
        read_cifar(write("cifar-10-batches-py", **{"batches.meta": pickle.dumps({"label_names": names})}))


def test_what_is_no_folder(tmp_path):
    with pytest.raises(DataError, match="nowhere: expected CIFAR-10, but there is no such file or folder"):
        read_cifar(tmp_path / "nowhere")
    with pytest.raises(DataError, match="aaa: expected CIFAR-10, but the system says 'File name too long'; check the"):
        read_cifar("a" * 300)
    for path in (None, 5):
        with pytest.raises(DataError, match="read_cifar: expected the path of a file, found"):
            read_cifar(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: expected the six batches .*data_batch_1\.bin.*are missing"):
        read_cifar(tmp_path / "empty")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_not_waited_for(write, tmp_path):
    folder = write(test_batch_bin=None)
    os.mkfifo(folder / "test_batch.bin")
    with pytest.raises(DataError, match=r"test_batch\.bin are missing"):
        read_cifar(folder)
    with pytest.raises(DataError, match="neither a file nor a folder"):
        read_cifar(folder / "test_batch.bin")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(write):
    folder = write()
    (folder / "data_batch_2.bin").chmod(stat.S_IWUSR)
    with pytest.raises(DataError, match=r"data_batch_2\.bin: the file cannot be read \(Permission denied\)"):
        read_cifar(folder)


# --- archives


def member(name, size, content=b"", kind=tarfile.REGTYPE):
    """A tar archive of one member whose header says what it likes."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT) + content


def signed(number, kind=tarfile.REGTYPE):
    """A header with a size that tarfile itself would not write: of 96 bits, the first of which says so."""
    raw = bytearray(member("data_batch_1.bin", 0, kind=kind))
    raw[124:136] = (number % (1 << 96) | 1 << 95).to_bytes(12, "big")
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def pax(**entries):
    """An extended header of these entries, and an empty member to which it belongs."""
    info = tarfile.TarInfo("x")
    info.pax_headers = {key.replace("__", "."): value for key, value in entries.items()}
    return info.tobuf(tarfile.PAX_FORMAT)


FIRST, END = member("first", 0), bytes(1024)  # where there is one before it, tarfile would come back for ever
ARCHIVES = {
    "no archive": (b"<html>404</html>" * 100, "is damaged or none"),
    "nothing": (b"", "is damaged or none"),
    "an empty archive": (archive({}, ""), "expected the six batches"),
    "a broken stream": (archive({"a": os.urandom(9999)}, "x")[:-1000], "breaks off"),
    "a member beyond the end": (gzip.compress(member("data_batch_1.bin", 10**9)), "is damaged or none"),
    "a huge member": (gzip.compress(member("data_batch_1.bin", 2**40)), "holds 1,099,511,628,288 bytes or more"),
    "a huge name": (gzip.compress(member("x", 2**33, kind=tarfile.GNUTYPE_LONGNAME)), "asks for 8,589,934,592 bytes"),
    "a huge header": (gzip.compress(member("x", 2**30, kind=tarfile.XHDTYPE)), "asks for 1,073,741,824 bytes"),
    "a link out of it": (gzip.compress(member("data_batch_1.bin", 0, kind=tarfile.SYMTYPE)), "six batches"),
    "a pipe": (gzip.compress(member("data_batch_1.bin", 0, kind=tarfile.FIFOTYPE)), "six batches"),
    **{
        name: (gzip.compress(FIRST + headers + END), message)
        for name, headers, message in (
            ("a negative size", signed(-512), "'data_batch_1.bin' has a negative size"),
            ("a size just below 0", signed(-5), "has a negative size"),
            ("a negative size in a header", pax(size="-1536"), "has a negative size"),
            ("a negative sparse size", signed(-512, tarfile.GNUTYPE_SPARSE), "has a negative size"),
            ("a negative header", signed(-512, tarfile.XHDTYPE), "asks for -512 bytes"),
            ("a negative name", signed(-512, tarfile.GNUTYPE_LONGNAME), "asks for -512 bytes"),
            ("a name of 2^80", signed(2**80, tarfile.GNUTYPE_LONGNAME), "asks for 1,208,925,819,614,629,174,706,176"),
            ("a header of 2^62", signed(2**62, tarfile.XHDTYPE), "asks for 4,611,686,018,427,387,904 bytes"),
            ("an odd sparse size", pax(GNU__sparse__size="abc"), "a header is wrong: invalid literal"),
            ("an odd sparse map", pax(GNU__sparse__map="a,b"), "a header is wrong: invalid literal"),
            ("a long odd number", pax(GNU__sparse__size="a" * 9999), "a header is wrong: invalid literal.{,80}; get"),
            ("many members", FIRST * 10_000, "has more than 10,000 members"),
        )
    },
    "headers of headers": (
        gzip.compress((member("x", 6, b"6 a=b\n".ljust(512, b"\0"), kind=tarfile.XHDTYPE)) * 5000),
        "is damaged or none",
    ),
}


@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize("case", ARCHIVES)
def test_wrong_archives(case, packed, tmp_path):
    raw, message = ARCHIVES[case]
    if not packed and (raw[:2] != b"\x1f\x8b" or case == "a broken stream"):
        pytest.skip("it is no gzip file, or wrong as such")
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(raw if packed else gzip.decompress(raw))
    with pytest.raises(DataError, match=rf"cifar-10-binary\.tar\.gz: .*{message}") as caught:
        read_cifar(path)
    assert "\n" not in str(caught.value)


def test_a_wrong_file_in_an_archive_is_named(forms, tmp_path):
    folder = "cifar-10-batches-bin"
    path = tmp_path / "cifar.tar.gz"
    path.write_bytes(archive(forms[folder] | {"data_batch_2.bin": b"\x0b" + 3 * RECORD[:-1] + b"\0\0"}, folder))
    with pytest.raises(DataError, match=r"cifar\.tar\.gz, member 'cifar-10-batches-bin/data_batch_2\.bin': 1 of 3"):
        read_cifar(path)


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_two_files_of_one_name_in_an_archive_are_refused_if_it_is_one_that_is_needed(mode, forms, tmp_path):
    folder, path = "cifar-10-batches-bin", tmp_path / "cifar.tar.gz"
    files = {f"{folder}/{name}": content for name, content in forms[folder].items()}
    path.write_bytes(archive(files | {"a/readme": b"a", "b/readme": b"b"}, ".", mode))
    assert len(read_cifar(path)[1]) == COUNT
    path.write_bytes(archive(files | {"old/test_batch.bin": files[f"{folder}/test_batch.bin"]}, ".", mode))
    names = rf"'\./({folder}|old)/test_batch\.bin'"
    with pytest.raises(DataError, match=f"member {names}: the archive has another file of this name, {names}, and"):
        read_cifar(path)


# --- damage

IN_FOLDER = "from chainrule.data import read_cifar\ndef read(path): return read_cifar(path.parent)"


def test_a_damaged_file_of_the_binary_version_is_read_as_it_is_or_refused(write):
    folder = write()
    outcome = survive(IN_FOLDER, [folder / "data_batch_2.bin", folder / "batches.meta.txt"], rounds=300)
    assert outcome.refused > 200


def test_a_damaged_pickle_is_read_as_it_is_or_refused(write):
    folder = write("cifar-10-batches-py")
    outcome = survive(IN_FOLDER, [folder / "data_batch_5", folder / "batches.meta"], rounds=1000)
    assert outcome.refused > 1000


@pytest.mark.parametrize("folder", ["cifar-10-batches-bin", "cifar-10-batches-py"])
@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_a_damaged_archive_is_read_as_it_is_or_refused(mode, folder, forms, tmp_path):
    path = tmp_path / "cifar.tar.gz"
    path.write_bytes(archive(forms[folder], folder, mode))
    outcome = survive("from chainrule.data import read_cifar as read", [path], rounds=300)
    assert outcome.refused > 100
    if mode == "w:gz":
        assert outcome.changed == 0  # gzip has a checksum
