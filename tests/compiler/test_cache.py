"""Generated code is compiled once; whatever happens to the files or between processes, the results are right."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from chainrule.compiler import cache
from chainrule.errors import ChainruleError, Notice

# One function calls another, both use a constant of the module, and it can fail.
SOURCE = """
from numba import njit

STEP = 0.5


@njit(nogil=True)
def halve(x):
    if x < 0:
        raise ValueError("negative")
    return x * STEP


@njit(nogil=True)
def total(x):
    s = 0.0
    for i in range(x.shape[0]):
        s += halve(x[i])
    return s
"""

# Loads the source and says what happened. BEFORE runs first, BUILDING while the module is compiled.
PROGRAM = """
import json, os, signal, sys, time, warnings
import numpy as np
from chainrule.compiler.cache import load

source, before, building = json.loads(sys.argv[1])
compiled = []


def compile(module):
    compiled.append(module.total(np.ones(3)))
    exec(building)


with warnings.catch_warnings(record=True) as notices:
    warnings.simplefilter("always")
    exec(before)
    module = load(source, compile)
    stats = module.total.stats
    report = {
        "total": module.total(np.arange(4.0)),
        "compiled": bool(compiled),
        "hits": sum(stats.cache_hits.values()),
        "misses": sum(stats.cache_misses.values()) + sum(module.halve.stats.cache_misses.values()),
        "notices": [str(notice.message) for notice in notices],
        "refreshed": "scipy.linalg" in sys.modules,
    }
print(json.dumps(report))
"""
COLD = {"total": 3.0, "compiled": True, "hits": 0, "misses": 2, "notices": []}
WARM = {"total": 3.0, "compiled": False, "hits": 1, "misses": 0, "notices": []}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def start(
    folder: Path, source: str = SOURCE, before: str = "", building: str = "", **environment: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps([source, before, building])],
        env=os.environ | {"CHAINRULE_CACHE": str(folder)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    report: dict[str, Any] = json.loads(out)
    report.pop("refreshed")
    return report


def run(*arguments: Any, **options: Any) -> dict[str, Any]:
    return finish(start(*arguments, **options))


def files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def entry(folder: Path) -> Path:
    (file,) = files(folder)
    assert file.suffix == cache.SUFFIX
    return file


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with one entry; not to be changed."""
    folder = tmp_path_factory.mktemp("built") / "cache"
    assert run(folder) == COLD
    return folder


@pytest.fixture
def copied(built: Path, folder: Path) -> Path:
    return Path(shutil.copytree(built, folder))


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this process."""
    monkeypatch.setenv(cache.VARIABLE, str(folder))
    return folder


# Cold and warm


def test_what_one_process_compiled_the_next_one_loads_and_compiles_nothing(built):
    before = entry(built).read_bytes()
    assert run(built) == WARM
    assert run(built, PYTHONDONTWRITEBYTECODE="1") == WARM
    assert entry(built).read_bytes() == before


def test_loading_does_not_refresh_numbas_registries_but_a_call_with_other_types_still_compiles(built):
    pytest.importorskip("scipy")
    process = start(built)
    assert json.loads(process.communicate()[0])["refreshed"] is False
    # What is compiled later is not added to the entry.
    before = entry(built).read_bytes()
    other = "load(source, compile).total(np.arange(4, dtype=np.float32))"
    assert run(built, before=other) == WARM | {"hits": 1, "misses": 2}
    assert entry(built).read_bytes() == before


def test_an_error_that_the_code_raises_is_the_same_from_the_disk(built):
    before = (
        "try: load(source, compile).total(-np.ones(2))\n"
        "except ValueError as error: assert str(error) == 'negative'\n"
        "else: assert False"
    )
    assert run(built, before=before) == WARM


@pytest.mark.parametrize("variable", ["NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES"])
def test_numbas_own_cache_is_not_used_whatever_is_set(copied, tmp_path, variable):
    elsewhere = tmp_path / "elsewhere"
    value = str(elsewhere) if variable == "NUMBA_CACHE_DIR" else "UserWideCacheLocator"
    assert run(copied, **{variable: value}) == WARM
    assert len(files(copied)) == 1
    assert not elsewhere.exists()


def test_two_versions_of_a_source_live_side_by_side(copied):
    other = SOURCE.replace("STEP = 0.5", "STEP = 0.25")
    assert run(copied, other) == COLD | {"total": 1.5}
    assert run(copied) == WARM
    assert run(copied, other) == WARM | {"total": 1.5}
    assert len(files(copied)) == 2


def test_code_for_another_processor_or_other_settings_is_not_taken(copied):
    assert run(copied, NUMBA_CPU_NAME="generic") == COLD
    assert run(copied, NUMBA_OPT="1") == COLD
    assert len(files(copied)) == 3


def test_without_the_just_in_time_compiler_the_functions_are_plain_python(copied):
    code = (
        "import sys, numpy as np; from chainrule.compiler.cache import load\n"
        "assert load(sys.argv[1], None).total(np.arange(4.0)) == 3.0"
    )
    environment = os.environ | {"CHAINRULE_CACHE": str(copied), "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", code, SOURCE], env=environment, check=True)
    assert len(files(copied)) == 1


def test_importing_the_cache_does_not_import_numba():
    code = "import sys, chainrule, chainrule.compiler.cache; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# Many processes


@pytest.mark.slow
@pytest.mark.parametrize("state", ["empty", "empty again", "damaged"])
def test_eight_processes_at_once_leave_one_valid_entry(built, folder, state):
    if state == "damaged":
        shutil.copytree(built, folder)
        truncate(entry(folder))
    gate = folder.with_name("gate")
    wait = f"import numba\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.001)"
    processes = [start(folder, before=wait) for _ in range(8)]
    gate.touch()
    # Whoever comes late may find what another has kept.
    assert all(finish(process) in (COLD, WARM) for process in processes)
    entry(folder)
    assert run(folder) == WARM


def test_a_process_killed_while_it_compiles_leaves_nothing(folder):
    process = start(folder, building="print('now', flush=True); time.sleep(60)")
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert files(folder) == []
    assert run(folder) == COLD
    assert run(folder) == WARM


LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits on the size of files")
def test_a_process_killed_while_it_writes_leaves_nothing_that_hurts(folder):
    # A limit of 2000 bytes, and the signal that Python otherwise ignores: the system kills the process within the file.
    process = start(folder, before=f"{LIMIT}; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)")
    process.communicate()
    assert process.returncode == -signal.SIGXFSZ
    (rest,) = files(folder)
    assert rest.suffix == cache.UNFINISHED
    assert rest.stat().st_size == 2000
    assert run(folder) == COLD
    assert run(folder) == WARM
    assert len(files(folder)) == 2  # somebody might still be writing it
    long_ago = time.time() - cache.ABANDONED - 1
    os.utime(rest, (long_ago, long_ago))
    assert run(folder, SOURCE + "# other") == COLD
    assert not rest.exists()


# Damage


def flip(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


DAMAGE = {
    "in the checksum": lambda file: flip(file, 3),
    "in the code": lambda file: flip(file, file.stat().st_size // 2),
    "at the end": lambda file: flip(file, -1),
    "truncated": truncate,
    "empty": lambda file: file.write_bytes(b""),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "missing": lambda file: file.unlink(),
    "others may write it": lambda file: file.chmod(0o666),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_compiled_again(here, damage):
    compiled = []

    def load():
        """As in a process that has not loaded it yet."""
        module = cache.load(SOURCE, lambda module: compiled.append(module.total(np.ones(3))))
        del sys.modules[module.__name__]
        return module

    load()
    DAMAGE[damage](entry(here))
    for _ in range(2):
        assert load().total(np.arange(4.0)) == 3.0
        assert len(compiled) == 2
    assert cache._read(entry(here), entry(here).stem) is not None


def test_a_damaged_entry_is_compiled_again_by_another_process(copied):
    flip(entry(copied), 1000)
    assert run(copied) == COLD
    assert run(copied) == WARM


def test_no_byte_of_an_entry_can_change_unnoticed(copied):
    file = entry(copied)
    assert cache._read(file, file.stem) is not None
    for position in range(0, file.stat().st_size, 211):
        flip(file, position)
        assert cache._read(file, file.stem) is None
        flip(file, position)
    assert cache._read(file, file.stem) is not None


def test_an_entry_under_the_name_of_another_is_no_entry(copied):
    first = entry(copied)
    other = SOURCE.replace("STEP = 0.5", "STEP = 0.25")
    run(copied, other)
    (second,) = set(files(copied)) - {first}
    shutil.copy(first, second)
    assert run(copied, other) == COLD | {"total": 1.5}


def test_a_damaged_entry_is_logged(copied, caplog):
    file = entry(copied)
    truncate(file)
    with caplog.at_level("INFO", logger="chainrule"):
        cache._read(file, file.stem)
    assert "is damaged or not private, and is compiled again" in caplog.text


# Places that cannot be used


def noticed(report: dict[str, Any], text: str) -> bool:
    (notice,) = report.pop("notices")
    assert report == {name: value for name, value in COLD.items() if name != "notices"}
    return notice.startswith("Each process compiles its code anew, since it is not kept: ") and text in notice


def test_a_file_in_the_place_of_the_folder(folder):
    folder.write_text("mine")
    assert noticed(run(folder), "Set CHAINRULE_CACHE to one of your own")
    assert folder.read_text() == "mine"


def test_a_folder_in_the_place_of_the_entry(copied):
    file = entry(copied)
    file.unlink()
    file.mkdir()
    assert noticed(run(copied), "cannot be written to")
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no modes")
def test_a_folder_that_cannot_be_written_to(folder):
    modules = folder / "modules"
    modules.mkdir(parents=True)
    modules.chmod(0o500)
    before = f"os.chdir({str(folder)!r})\n"
    if os.geteuid() == 0:
        # Root may write anywhere; so become nobody, when all that compiling needs is imported. Nobody need not get
        # into the folders above this one, since the path is relative.
        folder.chmod(0o755)
        os.chown(modules, 65534, 65534)
        before += "load(source.replace('0.5', '0.75'), compile)\ncompiled.clear(), notices.clear()\nos.seteuid(65534)"
    report = run(Path("."), before=before)
    assert files(folder) == []
    assert noticed(report, "cannot be written to (Permission denied)")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits on the size of files")
def test_a_full_disk(folder):
    assert noticed(run(folder, before=LIMIT), "cannot be written to (File too large)")
    assert files(folder) == []


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no modes")
def test_a_folder_that_others_may_write_into(copied):
    entry(copied).parent.chmod(0o777)
    assert noticed(run(copied), "chmod go-w")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_and_an_entry_of_somebody_else(copied):
    file = entry(copied)
    os.chown(file, 65534, 65534)
    assert run(copied) == COLD
    os.chown(file.parent, 65534, 65534)
    assert noticed(run(copied), "belongs to somebody else")


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no modes")
def test_folder_and_entry_are_private_whatever_the_umask(built):
    assert stat.S_IMODE(entry(built).parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry(built).stat().st_mode) == 0o600


@pytest.mark.skipif(sys.platform != "linux", reason="each platform has its own place")
def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for chosen, xdg, expected in [
        (tmp_path / "mine", tmp_path / "xdg", tmp_path / "mine"),
        ("", tmp_path / "xdg", tmp_path / "xdg" / "chainrule"),
        ("", "relative", tmp_path / "home" / ".cache" / "chainrule"),
        ("", "", tmp_path / "home" / ".cache" / "chainrule"),
    ]:
        monkeypatch.setenv("CHAINRULE_CACHE", str(chosen))
        monkeypatch.setenv("XDG_CACHE_HOME", str(xdg))
        assert cache.user_cache() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="each platform has its own place")
def test_no_home(tmp_path):
    nowhere = {"CHAINRULE_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/proc/nowhere"}
    assert noticed(run(tmp_path, **nowhere), "Set CHAINRULE_CACHE to one of your own")


# The module in one process


def test_a_process_has_one_module_for_a_source_also_in_many_threads(here):
    source = SOURCE + "# in threads"
    compiled, found = [], []

    def compile(module):
        compiled.append(module.total(np.ones(2)))

    threads = [threading.Thread(target=lambda: found.append(cache.load(source, compile))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
    assert len(compiled) == 1
    entry(here)


def test_a_module_that_fails_is_forgotten(here):
    source = SOURCE + "# fails"

    def fail(module):
        raise ArithmeticError("by the test")

    before = set(sys.modules)
    with pytest.raises(ArithmeticError, match="by the test"):
        cache.load(source, fail)
    assert not [name for name in set(sys.modules) - before if name.startswith("chainrule_generated")]
    assert files(here) == []
    assert cache.load(source, lambda module: module.total(np.ones(2))).total(np.ones(2)) == 1.0
    entry(here)


def test_compiling_again_is_compiling(here):
    source = SOURCE + "# again"
    first = cache.load(source, lambda module: module.total(np.ones(2)))
    del sys.modules[first.__name__]
    module = cache.load(source, None)
    assert module is not first
    assert module.total(np.ones(2)) == 1.0
    assert sum(module.total.stats.cache_misses.values()) == 0
    module.total.recompile()
    assert module.total(np.ones(2)) == 1.0
    assert sum(module.total.stats.cache_misses.values()) == 1


def test_a_signature_compiles_too_early_and_is_refused(here):
    source = SOURCE.replace("@njit(nogil=True)\ndef halve", "@njit('float64(float64)')\ndef halve")
    with pytest.raises(ChainruleError, match="'halve' has a signature and was compiled when it was defined"):
        cache.load(source, lambda module: None)


def test_a_compiled_function_from_elsewhere_is_refused(here, tmp_path, monkeypatch):
    (tmp_path / "elsewhere_in_test_cache.py").write_text(
        "from numba import njit\n\n@njit\ndef other(x):\n    return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ChainruleError, match="imports the compiled function 'other' from elsewhere_in_test_cache"):
        cache.load("from elsewhere_in_test_cache import other\n" + SOURCE, lambda module: None)


def test_code_with_addresses_of_this_process_is_not_kept(here):
    source = SOURCE.replace("STEP = 0.5", "import numpy as np\nTABLE = np.full(300_000, 0.5)")
    with pytest.warns(Notice, match="holds addresses of this process"):
        module = cache.load(source.replace("x * STEP", "x * TABLE[7]"), lambda module: module.total(np.ones(2)))
    assert module.total(np.ones(2)) == 1.0
    assert files(here) == []


# Pruning


def aged(folder: Path, number: int, size: int) -> Path:
    """An entry of zeros that was used so many hours ago."""
    file = folder / f"{number:03}{cache.SUFFIX}"
    with open(file, "wb") as handle:
        handle.truncate(size)
    then = time.time() - 3600 * number
    os.utime(file, (then, then))
    return file


def test_the_entries_not_used_for_longest_go_when_there_are_too_many(tmp_path):
    entries = [aged(tmp_path, number, 10) for number in range(cache.MOST_ENTRIES + 5)]
    (tmp_path / "notes.txt").write_text("mine")
    cache._prune(tmp_path)
    assert set(tmp_path.iterdir()) == {*entries[: cache.MOST_ENTRIES], tmp_path / "notes.txt"}


def test_the_entries_not_used_for_longest_go_when_they_are_too_large(tmp_path):
    entries = [aged(tmp_path, number, cache.MOST_BYTES // 3) for number in range(5)]
    cache._prune(tmp_path)
    assert set(tmp_path.iterdir()) == set(entries[:3])


def test_keeping_an_entry_prunes_and_using_one_saves_it(copied):
    used = entry(copied)
    others = [aged(used.parent, number, 10) for number in range(1, cache.MOST_ENTRIES)]
    os.utime(used, (0, 0))
    assert run(copied) == WARM
    assert run(copied, SOURCE + "# one too many") == COLD
    assert used.exists()
    assert not others[-1].exists()
    assert others[-2].exists()
    assert len(files(copied)) == cache.MOST_ENTRIES
