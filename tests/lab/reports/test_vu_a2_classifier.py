"""The classifier of vu-a2: its network, where its images come from, what is compared, and what a stand-in gives."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from chainrule import optim
from chainrule.data.splits import SPLITS
from chainrule.lab.experiment import Job
from chainrule.lab.reports import vu_a2_classes as classes
from chainrule.lab.reports import vu_a2_classifier as classifier

TRAIN, TEST = 40, 40  # images in a batch file for training, and in that for the test: as many


def records(n, rng):
    """So many records of CIFAR-10's binary version, of random pixels, with the classes in turn."""
    pixels = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
    return np.concatenate([(np.arange(n) % 10)[:, None].astype(np.uint8), pixels], axis=1).tobytes()


@pytest.fixture
def nothing_here(tmp_path, monkeypatch):
    """An empty folder in place of all places where data sets are looked for."""
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def cifar(nothing_here, monkeypatch):
    """A folder with a small CIFAR-10."""
    rng, folder = np.random.default_rng(0), nothing_here / "cifar-10-batches-bin"
    folder.mkdir()
    for name, n in {**{f"data_batch_{k}": TRAIN for k in range(1, 6)}, "test_batch": TEST}.items():
        (folder / f"{name}.bin").write_bytes(records(n, rng))
    monkeypatch.setitem(SPLITS["cifar-10"], "vu-a2", replace(SPLITS["cifar-10"]["vu-a2"], train=5 * TRAIN))
    return folder


def result(training="SGD", part=1):
    arguments = {"training": training, "data": classifier.source(), "part": part, "seed": 0}
    return Job("vu-a2", training, 0, classifier.train, arguments).result()


@pytest.fixture
def results(cifar):
    """One run of each training on the small CIFAR-10."""
    return {classifier.job(name): [result(name)] for name in classifier.TRAININGS}


@pytest.mark.parametrize(("shape", "features"), [((3, 32, 32), 400), ((28, 28), 256)])
def test_3_6_the_network_has_the_reports_layers_and_begins_as_pytorchs_do(shape, features):
    torch = pytest.importorskip("torch")
    colours = shape[0] if len(shape) == 3 else 1
    sizes = [(features, 120), (120, 84), (84, 10)]
    theirs = [torch.nn.Conv2d(colours, 6, 5), torch.nn.Conv2d(6, 16, 5), *(torch.nn.Linear(*each) for each in sizes)]
    model = classifier.network(shape, seed=0)
    ours = [layer for layer in model if hasattr(layer, "weight")]
    assert model(np.zeros((2, *shape) if colours == 3 else (2, 784), np.float32)).shape == (2, 10)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.weight.size == other.weight.numel()
        bound = (other.weight.numel() / len(other.bias)) ** -0.5
        for parameter in (mine.weight.value, mine.bias.value, *(p.detach().numpy() for p in other.parameters())):
            assert 0.5 * bound < np.abs(parameter).max() <= bound * (1 + 1e-6)


def test_another_seed_is_another_beginning_and_the_same_is_the_same():
    first, again, other = ([p.value for p in classifier.network((28, 28), seed).parameters()] for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_images_are_cifars_where_they_are_else_fashion_mnists_else_the_packaged_ones(nothing_here, cifar):
    assert classifier.source() == "cifar-10"
    (cifar / "test_batch.bin").unlink()
    assert classifier.source() == "mnist"
    folder = nothing_here / "fashion-mnist"
    folder.mkdir()
    for stem in ("train", "t10k"):
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, 10, 28, 28) + bytes(7840))
        labels = bytes([9, 0, 0, 3, 0, 2, 7, 2, 5, 5])
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 10) + labels)
    assert classifier.source() == "fashion-mnist"


def test_which_data_it_is_belongs_to_a_jobs_arguments(cifar):
    """So a kept result of a stand-in is not taken once CIFAR-10 is there."""
    whole, quick = classifier.experiments(False), classifier.experiments(True)
    assert [(e.name, list(e.seeds), e.settings["part"]) for e in whole] == [
        (f"classifier, {name}", [0, 1, 2], 1) for name in ("SGD", "Adam", "Adam, lr .1")
    ]
    assert {(*e.seeds, e.settings["part"]) for e in quick} == {(0, 10)}
    assert {e.settings["data"] for e in whole} == {"cifar-10"}
    (cifar / "test_batch.bin").unlink()
    assert {e.settings["data"] for e in classifier.experiments(False)} == {"mnist"}


def test_a_training_counts_every_test_image_once_an_epoch(results):
    for name, (run,) in results.items():
        matrices = np.array(run["confusion"])
        assert len(matrices) == classifier.TRAININGS[name.removeprefix("classifier, ")].epochs
        np.testing.assert_array_equal(matrices.sum(axis=2), TEST // 10)
        np.testing.assert_allclose(matrices.trace(axis1=1, axis2=2) / TEST, run["validation accuracy"])
    half = result(part=2)
    assert np.sum(half["confusion"][0]) == TEST // 2
    assert half["train loss"] != results["classifier, SGD"][0]["train loss"]


def test_two_epochs_of_adam_are_the_first_two_of_five(results, monkeypatch):
    training = classifier.TRAININGS["Adam"]
    monkeypatch.setitem(classifier.TRAININGS, "Adam", replace(training, epochs=2))
    two, (five,) = result("Adam"), results["classifier, Adam"]
    assert two["confusion"] == five["confusion"][:2]
    assert two["train loss"] == five["train loss"][:2]


def test_examples_are_the_first_right_and_the_first_wrong_ones_with_their_own_pixels(results, cifar):
    run = results["classifier, SGD"][0]
    raw = np.frombuffer((cifar / "test_batch.bin").read_bytes(), np.uint8).reshape(TEST, 3073)
    right = [each["is"] == each["taken for"] for each in run["examples"]]
    assert right == sorted(right, reverse=True)
    assert right.count(False) == classifier.EXAMPLES
    assert right.count(True) == min(classifier.EXAMPLES, np.trace(run["confusion"][-1]))
    for each in run["examples"]:
        np.testing.assert_array_equal(np.moveaxis(each["pixels"], -1, 0).ravel(), raw[each["row"], 1:])
        assert each["is"] == raw[each["row"], 0]


def run_with(*matrices, data="cifar-10", **more):
    run = {"data": data, "classes": list("abcdefghij"), "parameters": 1, "diverged": None, "examples": []}
    scores = {f"{part} {score}": [0.5] for part in ("train", "validation") for score in ("loss", "accuracy")}
    return run | scores | {"confusion": [np.asarray(matrix).tolist() for matrix in matrices]} | more


def recognised(*per_cent):
    """A confusion matrix in which so many per cent of each class are right, and the others the next class."""
    right = np.diag(per_cent)
    return right + np.roll(np.diag(100 - np.array(per_cent)), 1, axis=1)


def made_up(shift=0):
    """Results of which SGD's are the report's, but for a shift of one class; Adam's are 50 throughout."""
    sgd = [57, 78 + shift, 51, 43, 60, 17, 63, 56, 68, 57]
    deer, fifty = np.zeros((10, 10)), recognised(*[50] * 10)
    deer[:, 4] = 100
    return {
        "classifier, SGD": [run_with(fifty, recognised(*(np.array(sgd) + seed))) for seed in (-1, 0, 1)],
        "classifier, Adam": [run_with(*[fifty] * 5)] * 3,
        "classifier, Adam, lr .1": [run_with(deer, deer)] * 3,
    }


def found(results, quick=False):
    return {row.quantity: row for row in classes.rows(results, quick)}


def test_3_7_each_class_is_compared_with_the_reports_figure():
    rows = found(made_up(shift=9))
    assert (str(rows["SGD, 2 epochs: plane"].reported), rows["SGD, 2 epochs: plane"].ours) == ("57", 57)
    assert rows["SGD, 2 epochs: plane"].verdict == "in band"
    assert (rows["SGD, 2 epochs: car"].ours, rows["SGD, 2 epochs: car"].verdict) == (87, "differs")
    assert rows["Adam, 2 epochs: bird"].verdict == "differs"
    assert {row.id for row in rows.values()} == {"3.6", "3.7"}
    assert sum(row.reported is not None for row in rows.values()) == 10 + 10 + 7 + 4 + 1
    assert rows["Adam, 5 epochs: car"].verdict == "shown"
    assert rows["SGD: recognised after epoch 1"].why == "PyTorch here, one seed: 48.7"
    assert rows["SGD: recognised after epoch 1"].ours == 50
    assert {row.verdict for row in found(made_up(), quick=True).values()} == {"not judged", "shown"}


def test_3_7_everything_is_one_class():
    rows = found(made_up())
    one = rows["Adam, lr .1, 2 epochs: taken for one and the same class"]
    assert (one.ours, one.verdict) == (100, "in band")
    assert "deer, deer, deer" in one.why
    assert rows["Adam, lr .1, 2 epochs: all classes"].verdict == "in band"


def test_without_cifar_nothing_is_judged_and_the_rows_say_how_to_get_it():
    results = {name: [run | {"data": "mnist"} for run in runs] for name, runs in made_up().items()}
    rows = found(results)
    missing = [row for row in rows.values() if row.verdict == "not judged"]
    assert [str(row.reported) for row in missing] == ["55.0", "52.5", "59", "10.0"]
    assert all("chainrule data get cifar-10" in row.why and row.ours is None for row in missing)
    assert {row.verdict for row in rows.values()} == {"not judged", "shown"}
    assert rows["SGD on mnist: recognised after epoch 1"].ours == 50
    tables = classes.tables(results, False)
    assert len(tables) == 4
    assert tables[0].head == ["", *"abcdefghij"]
    assert "of mnist" in tables[0].caption


def test_a_training_that_diverges_is_a_row_and_no_failure(cifar, monkeypatch, tmp_path):
    monkeypatch.setattr(classifier, "_optimizer", lambda _, model: optim.SGD(model.parameters(), lr=1e30))
    run = result()
    assert (run["diverged"], run["confusion"], run["examples"], run["train loss"]) == (1, [], [], [])
    one_epoch = run_with(recognised(*[50] * 10), diverged=2)
    for runs in ([run], [run, one_epoch]):
        results = made_up() | {"classifier, SGD": runs}
        row = found(results)["SGD, 2 epochs: all classes"]
        assert (row.verdict, row.ours) == ("differs", None)
        assert f"{len(runs)} of {len(runs)} runs became infinite" in row.why
        assert "nan" not in " ".join(cell for table in classes.tables(results, False) for cell in table.lines[0])
    classes.figures(made_up() | {"classifier, SGD": [run]}, tmp_path)
    assert not (tmp_path / "vu-a2-examples.png").exists()


def test_the_tables_put_the_classes_side_by_side():
    first, confused, *_ = classes.tables(made_up(), False)
    assert first.lines[0][:4] == ["plane", "57", "57 ± 1", "in band"]
    assert [line[0] for line in first.lines] == [*classes.CLASSES, "all classes"]
    assert first.lines[1][7:9] == ["?", "50 ± 0"]
    assert all(len(line) == len(first.head) for line in first.lines)
    assert confused.lines[0] == ["plane", "57", "43", *["0"] * 8]


def test_the_figures_show_classes_confusion_epochs_and_pictures(results, tmp_path):
    classes.figures(results, tmp_path / "figures")
    assert {path.name for path in (tmp_path / "figures").glob("*.png")} == {
        f"vu-a2-{stem}.png" for stem in ("classes", "confusion", "classifier", "examples")
    }
    with Image.open(tmp_path / "figures" / "vu-a2-confusion.png") as image:
        assert "mean over 1 seed." in image.info["Description"]
