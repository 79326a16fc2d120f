"""Generated Numba modules, compiled once and kept on the disk for all later processes.

An entry is one file: what Numba made of every function of a module, behind a checksum. It is written beside its place
and renamed into it, read whole and at once, and never changed; so processes may meet in any order, die at any moment
and remove each other's entries, and the worst that follows is that somebody compiles again. Numba's own cache is not
used: it has an index and data files for each function, which it reads one after the other and changes at any call.
"""

from __future__ import annotations

import hashlib
import json
import linecache
import logging
import os
import pickle
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from chainrule.errors import ChainruleError, show_notice

VARIABLE = "CHAINRULE_CACHE"
FORMAT = 1  # of the files; another number leaves the old ones to be pruned
FILE = "<chainrule "  # what the names of modules' files, which there are not, begin with
SUFFIX, UNFINISHED = ".compiled", ".unfinished"
MOST_ENTRIES = 200
MOST_BYTES = 200 * 2**20
ABANDONED = 3600.0  # seconds after which nobody is still writing a file

# For each function of a module, for each tuple of argument types: the symbols that the machine code needs from the
# process, and Numba's compile result, pickled.
Compiled = dict[str, dict[Any, tuple[list[str], bytes]]]

_lock = threading.RLock()
_log = logging.getLogger(__name__)


def load(source: str, compile: Callable[[ModuleType], object]) -> ModuleType:
    """The module of a source text, with its Numba functions compiled, from the disk if they have been compiled before.

    The same text gives the same module object for the whole life of a process. If the code cannot be kept on the disk,
    a `Notice` says why, and everything works without.

    Parameters
    ----------
    source : str
        A Python module with functions under `@njit(...)`, without `cache=True` (this is the cache) and without
        signatures (they would be compiled before anybody could look on the disk). What it needs it contains, or takes
        from Python, NumPy, SciPy or Numba: only their versions are known here.
    compile : callable
        Gets the module if nothing was found, and calls each function with arguments of all types that will be needed,
        or calls its `compile` method. Later calls with other types are compiled, but not kept. The same source must
        always come with the same `compile`.

    Returns
    -------
    module : ModuleType

    Raises
    ------
    ChainruleError
        If the source has a function with a signature, or has imported a compiled function.
    ImportError
        If Numba is not installed.
    """
    with _lock:
        key = _key(source)
        name = f"chainrule_generated_{key[:16]}"
        if name in sys.modules:
            return sys.modules[name]
        folder = _folder()
        entry = folder / f"{key}{SUFFIX}" if folder else None
        compiled = _read(entry, key) if entry else None
        module = sys.modules[name] = ModuleType(name)  # where Numba looks for the globals of a function
        try:
            functions = _execute(module, source)
            if compiled is not None:
                for function_name, function in functions.items():
                    function._cache = _Overloads(compiled.get(function_name, {}))
            elif functions:
                compile(module)
        except BaseException:
            del sys.modules[name]
            raise
        if compiled is None and entry and functions:
            _keep(entry, key, functions)
        return module


class _Overloads:
    """Stands in a function where Numba's own cache would stand, and gives Numba the overloads of an entry.

    Numba refreshes its registries before it loads anything, which takes from 0.1 s to 0.4 s (it imports scipy.linalg
    among others) and is needed to compile, not to load. Loading needs the runtime and the symbols that are called by
    name.
    """

    cache_path = None

    def __init__(self, overloads: dict[Any, tuple[list[str], bytes]]) -> None:
        self._overloads = overloads

    def load_overload(self, signature: Any, context: Any) -> Any:
        types, _ = import_module("numba.core.sigutils").normalize_signature(signature)
        # Numba asks once and remembers; after `recompile` it must find nothing here.
        found = self._overloads.pop(types, None)
        if found is None:
            return None
        symbols, pickled = found
        import_module("numba.core.runtime").rtsys.initialize(context)
        result = pickle.loads(pickled)
        if not all(map(import_module("llvmlite.binding").address_of_symbol, symbols)):
            context.refresh()
        return import_module("numba.core.compiler").CompileResult._rebuild(context, *result)

    def save_overload(self, signature: Any, result: Any) -> None:
        """An entry is never changed."""

    def enable(self) -> None: ...

    def disable(self) -> None: ...

    def flush(self) -> None: ...


def _execute(module: ModuleType, source: str) -> dict[str, Any]:
    """Run the source as the module, and return its Numba functions by name: none if Numba is switched off."""
    dispatcher = import_module("numba.core.dispatcher").Dispatcher
    file = f"{FILE}{module.__name__}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file  # for tracebacks
    exec(compile(source, file, "exec"), module.__dict__)
    functions = {name: value for name, value in vars(module).items() if isinstance(value, dispatcher)}
    for name, function in functions.items():
        if function.py_func.__module__ != module.__name__:
            raise ChainruleError(
                f"The generated module imports the compiled function '{name}' from {function.py_func.__module__}: "
                "expected all compiled functions in the text itself, since a change elsewhere would not be noticed. "
                "Copy it there."
            )
        if function.overloads:
            raise ChainruleError(
                f"The generated function '{name}' has a signature and was compiled when it was defined, before the "
                "cache could be asked. Write @njit without a signature, and compile it in the function given to load."
            )
    return functions


def _key(source: str) -> str:
    """A hash of all that the machine code follows from."""
    numba = import_module("numba")
    with suppress(ImportError):
        import_module("scipy")
    libraries = [sys.modules.get(name) for name in ("numba", "llvmlite", "numpy", "scipy")]
    versions = [sys.version, *(getattr(library, "__version__", None) for library in libraries)]
    target = import_module("numba.core.registry").cpu_target.target_context
    processor = target.codegen().magic_tuple()  # triple, name and features of the CPU; NUMBA_CPU_* included
    settings = ["OPT", "BOUNDSCHECK", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DEBUGINFO_DEFAULT", "USING_SVML", "DEBUG_NRT"]
    flags = [str(getattr(numba.config, setting, None)) for setting in settings]
    return hashlib.sha256(json.dumps([FORMAT, versions, processor, flags, source]).encode()).hexdigest()


def _folder() -> Path | None:
    """The folder of the entries, made if need be; with a notice and None if it cannot be used."""
    try:
        # A folder of its own within the cache, so that it is private whatever umask the person's was made with.
        folder = user_cache() / "modules"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        _notify(f"there is no folder for it ({error}). Set {VARIABLE} to one of your own")
        return None
    if not _is_private(status):
        _notify(
            f"'{folder}' belongs to somebody else, or others may write into it. Set {VARIABLE} to a folder of your "
            f"own, or run chmod go-w '{folder}'"
        )
        return None
    return folder


def user_cache() -> Path:
    """Where chainrule may keep what it can make again: CHAINRULE_CACHE, else what the platform has for this."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "chainrule" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "chainrule"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "chainrule"


def _is_private(status: os.stat_result) -> bool:
    """Whether only this user can have written it. An entry holds pickles of Numba's: who writes it runs code here."""
    if sys.platform == "win32":
        return True  # the local application data are the user's alone
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read(entry: Path, key: str) -> Compiled | None:
    """What an entry holds; None if there is none, or one that is damaged or that somebody else may have written."""
    try:
        with open(entry, "rb") as file:
            private = _is_private(os.fstat(file.fileno()))
            digest, body = file.read(hashlib.sha256().digest_size), file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.info("%s cannot be read (%s) and is compiled again.", entry, error)
        return None
    if not private or digest != _digest(key, body):
        _log.info("%s is damaged or not private, and is compiled again.", entry)
        return None
    with suppress(OSError):
        os.utime(entry)  # so that what is in use is pruned last
    compiled: Compiled = pickle.loads(body)
    return compiled


def _keep(entry: Path, key: str, functions: dict[str, Any]) -> None:
    """Write what was compiled, whole or not at all."""
    dumps = import_module("numba.core.serialize").dumps
    results = {name: dict(function.overloads) for name, function in functions.items()}
    if any(result.library.has_dynamic_globals for overloads in results.values() for result in overloads.values()):
        _notify("it holds addresses of this process; large arrays must be arguments, not globals")
        return
    body = pickle.dumps(
        {
            name: {types: (_symbols(result), dumps(result._reduce())) for types, result in overloads.items()}
            for name, overloads in results.items()
        }
    )
    try:
        handle, unfinished = tempfile.mkstemp(suffix=UNFINISHED, dir=entry.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_digest(key, body) + body)
            os.replace(unfinished, entry)
        finally:
            Path(unfinished).unlink(missing_ok=True)
        _prune(entry.parent)
    except OSError as error:
        _notify(f"'{entry.parent}' cannot be written to ({error.strerror or error}). Set {VARIABLE} to another folder")


def _digest(key: str, body: bytes) -> bytes:
    """The key is in it, so that an entry under another's name is no entry."""
    return hashlib.sha256(key.encode() + body).digest()


def _symbols(result: Any) -> list[str]:
    """The names that a compiled function expects to find in the process."""
    module = result.library._final_module
    needed = [value.name for value in (*module.functions, *module.global_variables) if value.is_declaration]
    return [name for name in needed if not name.startswith("llvm.")]


def _prune(folder: Path) -> None:
    """Remove the entries that were not used for longest, and what a killed process has left."""
    entries = []
    now = time.time()
    for file in folder.iterdir():
        with suppress(OSError):  # others prune too
            status = file.stat()
            if file.suffix == SUFFIX:
                entries.append((status.st_mtime, status.st_size, file))
            elif file.suffix == UNFINISHED and now - status.st_mtime > ABANDONED:
                file.unlink()
    total = 0
    for number, (_, size, file) in enumerate(sorted(entries, reverse=True), start=1):
        total += size
        if number > MOST_ENTRIES or total > MOST_BYTES:
            with suppress(OSError):
                file.unlink()


def _notify(reason: str) -> None:
    show_notice(f"Each process compiles its code anew, since it is not kept: {reason}.")
