"""A result is used again only by the job that made it, with every bit, and whatever is damaged counts as missing."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from chainrule.errors import DataError
from chainrule.lab import store as store_module
from chainrule.lab.experiment import Job
from chainrule.lab.store import Store


def other(lr: float) -> dict[str, Any]:
    return {}


def train(lr: float) -> dict[str, Any]:
    return {}


def job(experiment: str = "e", run: Any = train, **arguments: Any) -> Job:
    return Job("r", experiment, None, run, {"lr": 0.1} | arguments)


RESULT = {"loss": 0.1 + 0.2, "curve": [math.inf, -0.0, 5e-324, 1 / 3], "name": "café", "n": 7}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / ".jobs")


def kept(store: Store) -> Path:
    (file,) = store.folder.iterdir()
    return file


def test_a_result_comes_back_with_every_bit_also_in_another_process(store: Store) -> None:
    assert store.get(job()) is None
    store.keep(job(), RESULT)
    assert repr(Store(store.folder).get(job())) == repr(RESULT)
    store.keep(job(), {"loss": math.nan})
    assert repr(store.get(job())) == "{'loss': nan}"


@pytest.mark.parametrize(
    "different", [job("f"), job(lr=0.2), job(more=1), job(run=other)], ids=["name", "setting", "more", "function"]
)
def test_another_job_does_not_get_it(store: Store, different: Job) -> None:
    store.keep(job(), RESULT)
    assert store.get(different) is None
    assert store.get(job()) == RESULT


def test_jobs_of_one_name_take_turns_and_leave_no_old_results(store: Store) -> None:
    store.keep(job(lr=0.1), {"lr": 0.1})
    store.keep(job(lr=0.2), {"lr": 0.2})
    assert store.get(job(lr=0.1)) is None
    assert len(list(store.folder.iterdir())) == 1


def test_an_edit_of_the_code_makes_results_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    (package / "nn" / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "nn" / "layers.py").write_text("a = 1")
    monkeypatch.setattr("chainrule.__file__", str(package / "__init__.py"))
    Store(tmp_path / ".jobs").keep(job(), RESULT)
    (package / "nn" / "__pycache__" / "layers.pyc").write_text("compiled")
    assert Store(tmp_path / ".jobs").get(job()) == RESULT
    (package / "nn" / "layers.py").write_text("a = 2")
    assert Store(tmp_path / ".jobs").get(job()) is None


def test_an_edit_of_the_file_that_a_job_of_ones_own_stands_in_does_too(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("def train(lr): return {}")
    monkeypatch.syspath_prepend(tmp_path)
    import mine  # type: ignore[import-not-found, unused-ignore]

    store.keep(job(run=mine.train), RESULT)
    assert store.get(job(run=mine.train)) == RESULT
    (tmp_path / "mine.py").write_text("def train(lr): return {1: 2}")
    assert store.get(job(run=mine.train)) is None


def test_other_versions_and_other_data_make_results_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, data = tmp_path / ".jobs", tmp_path / "data"
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    Store(folder).keep(job(), RESULT)
    data.mkdir()
    monkeypatch.setenv("CHAINRULE_DATA", str(data))
    assert Store(folder).get(job()) is None
    Store(folder).keep(job(), RESULT)
    assert Store(folder).get(job()) == RESULT
    (data / "train").write_text("images")
    assert Store(folder).get(job()) is None
    monkeypatch.delenv("CHAINRULE_DATA")
    Store(folder).keep(job(), RESULT)
    monkeypatch.setattr(store_module.metadata, "version", lambda name: "99")
    assert Store(folder).get(job()) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("0.3333", "0.3334"),
        lambda text: text.replace('"result"', '"results"'),
        lambda text: "[1, 2]",
        lambda text: "[" * 100_000,
        lambda text: '{"result": {}}',
    ],
)
def test_what_is_damaged_counts_as_missing(store: Store, damage: Any) -> None:
    store.keep(job(), RESULT)
    file = kept(store)
    text = file.read_text(encoding="utf-8")
    assert damage(text) != text
    file.write_text(damage(text), encoding="utf-8")
    assert store.get(job()) is None


def test_bytes_that_are_no_text_and_a_folder_count_as_missing(store: Store) -> None:
    store.keep(job(), RESULT)
    file = kept(store)
    file.write_bytes(b"\xff\xfe")
    assert store.get(job()) is None
    file.unlink()
    file.mkdir()
    assert store.get(job()) is None
    with pytest.raises(DataError, match="'r: e' could not be kept in"):
        store.keep(job(), RESULT)


def test_names_become_files_whatever_is_in_them(store: Store) -> None:
    names = ["../up", "a/b", "x" * 500, "sigmoïd: 2 layers?", "sigmoïd; 2 layers!"]
    for name in names:
        store.keep(job(name), {"name": name})
    assert [store.get(job(name)) for name in names] == [{"name": name} for name in names]
    assert {path.parent for path in store.folder.rglob("*")} == {store.folder}
    assert all(json.loads(path.read_text(encoding="utf-8"))["job"].startswith("r: ") for path in store.folder.iterdir())


def test_forgotten_results_are_gone_and_others_stay(store: Store) -> None:
    store.keep(job("a"), RESULT)
    store.keep(job("b"), RESULT)
    store.forget([job("a"), job("never run")])
    assert (store.get(job("a")), store.get(job("b"))) == (None, RESULT)
