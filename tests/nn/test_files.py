"""Models on disk: bit for bit there and back; whatever else a file holds is a DataError that names it."""

import json
import os
import stat
import struct
import sys

import numpy as np
import pytest
from safetensors.numpy import save as to_bytes

import chainrule as cr
from chainrule import nn
from chainrule.errors import ChainruleError, DataError

ARCHITECTURE = {"layer": "Linear", "in_features": 2, "out_features": 3, "bias": True}
ARRAYS = {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}


def every_layer(dtype):
    cr.manual_seed(1)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(6, 5, dtype=dtype),
        nn.ReLU(),
        nn.Sequential(nn.Linear(5, 5, bias=False, dtype=dtype), nn.Tanh(), nn.Sigmoid(), nn.Softplus()),
        nn.Softmax(axis=1),
    )


@pytest.fixture
def hostile(tmp_path):
    """Write a file with this architecture (or text) and these arrays and metadata, and load it."""

    def load(architecture=ARCHITECTURE, arrays=ARRAYS, **metadata):
        text = architecture if isinstance(architecture, str) else json.dumps(architecture)
        path = tmp_path / "hostile.safetensors"
        path.write_bytes(to_bytes(arrays, {"chainrule": "1", "dtype": "float32", "architecture": text, **metadata}))
        return nn.load(path)

    return load


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_comes_back_bit_for_bit(tmp_path, dtype):
    model = every_layer(dtype)
    for p in model.parameters():
        p.assign(p.value * dtype(1 / 3))
    model.save(path := tmp_path / "m.safetensors")
    again = nn.load(path)
    assert repr(again) == repr(model)
    assert again.dtype == dtype
    for (name, a), (_, b) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert a.value.tobytes() == b.value.tobytes(), name
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    assert again.predict(x).tobytes() == model.predict(x).tobytes()


def test_a_model_without_parameters_and_a_path_that_is_a_string(tmp_path):
    nn.Sequential(nn.Tanh()).save(str(tmp_path / "m"))
    assert repr(nn.load(str(tmp_path / "m"))) == repr(nn.Sequential(nn.Tanh()))


def test_loading_draws_no_random_numbers(tmp_path):
    nn.Linear(3, 3).save(tmp_path / "m")
    cr.manual_seed(5)
    expected = nn.Linear(2, 2).weight.value
    cr.manual_seed(5)
    nn.load(tmp_path / "m")
    np.testing.assert_array_equal(nn.Linear(2, 2).weight.value, expected)


def test_a_loaded_model_trains(tmp_path):
    nn.Linear(2, 1).save(tmp_path / "m")
    model = nn.load(tmp_path / "m")
    model(np.ones((3, 2), np.float32)).sum().backward()
    assert model.weight.grad is not None


def test_saving_replaces_a_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "m"
    path.write_text("older")
    nn.Linear(2, 3).save(path)
    assert os.listdir(tmp_path) == ["m"]
    assert nn.load(path).in_features == 2


def test_a_saved_file_has_the_modes_of_any_file(tmp_path):
    (tmp_path / "plain").write_text("")
    nn.Linear(2, 3).save(tmp_path / "m")
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_numpys_numbers_as_options_are_saved_as_plain_ones(tmp_path):
    labels = np.array([0, 2, 1])
    model = nn.Sequential(nn.Linear(np.int64(4), labels.max() + 1), nn.LeakyReLU(np.float32(0.25)))
    model.save(tmp_path / "m")
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(nn.load(tmp_path / "m").predict(x), model.predict(x))


def test_saving_where_nothing_can_be_written_names_the_file(tmp_path):
    with pytest.raises(DataError, match=r"missing.m: the model cannot be written here: No such file"):
        nn.Linear(2, 3).save(tmp_path / "missing" / "m")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"folder: the model cannot be written here"):
        nn.Linear(2, 3).save(tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="whoever may write everywhere sees no error")
def test_saving_into_a_folder_that_is_read_only(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DataError, match="cannot be written here: Permission denied"):
            nn.Linear(2, 3).save(tmp_path / "m")
        assert os.listdir(tmp_path) == []
    finally:
        tmp_path.chmod(0o700)


def test_a_disk_that_is_full_leaves_the_older_file(tmp_path, monkeypatch):
    nn.Linear(2, 3).save(path := tmp_path / "m")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match="No space left on device"):
        nn.Linear(5, 5).save(path)
    assert os.listdir(tmp_path) == ["m"]
    assert nn.load(path).in_features == 2


def test_layers_of_ones_own_are_refused_before_anything_is_written(tmp_path):
    class Mine(nn.Module):
        pass

    class Doubled(nn.Linear):
        pass

    Linear = type("Linear", (nn.Linear,), {})
    for layer in (Mine(), Doubled(2, 2), Linear(2, 2)):
        for model in (layer, nn.Sequential(nn.Linear(2, 2), layer)):
            with pytest.raises(ChainruleError, match="only chainrule's own layers"):
                model.save(tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_shared_arrays_would_come_back_as_several_and_are_refused(tmp_path):
    twice = nn.Sequential(layer := nn.Linear(3, 3), nn.ReLU(), layer)
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    for model, first, second in ((twice, "0.weight", "2.weight"), (tied, "0.weight", "1.weight")):
        with pytest.raises(ChainruleError, match=f"save: '{first}' and '{second}' are one array.*load_state_dict"):
            model.save(tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_a_layer_without_arrays_may_be_used_twice(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), relu := nn.ReLU(), nn.Linear(3, 2), relu)
    model.save(tmp_path / "m")
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(nn.load(tmp_path / "m").predict(x), model.predict(x))


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: there is no such file; save a model with model\.save"):
        nn.load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="there is no such file"):
        nn.load(tmp_path)


def test_a_file_cut_at_any_place_or_with_more_behind_it(tmp_path):
    every_layer(np.float32).save(path := tmp_path / "m.safetensors")
    content = path.read_bytes()
    for size in [0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"m\.safetensors is not a complete safetensors file"):
            nn.load(path)
    path.write_bytes(content + b"more")
    with pytest.raises(DataError, match=r"m\.safetensors"):
        nn.load(path)


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "other"
    for content in [
        b"\x80\x04\x95 a pickle",
        b"PK\x03\x04" + bytes(50),
        b"\x93NUMPY" + bytes(80),
        bytes(1000),
        b"\xff" * 1000,
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match="other is not a complete safetensors file"):
            nn.load(path)


def test_safetensors_of_others(tmp_path):
    path = tmp_path / "foreign"
    path.write_bytes(to_bytes(ARRAYS, {"format": "pt"}))
    with pytest.raises(DataError, match=r"foreign has no architecture of chainrule's format 1"):
        nn.load(path)
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(DataError, match="foreign has no architecture"):
        nn.load(path)


def test_the_honest_file_loads(hostile):
    np.testing.assert_array_equal(hostile().weight.value, np.ones((2, 3)))


def changed(**options):
    return {**ARCHITECTURE, **options}


@pytest.mark.parametrize(
    "architecture",
    [
        "", "{", "null", "[]", "3", '"Linear"', "NaN", "[" * 100_000, "{}", [ARCHITECTURE],
        {"layer": ["Linear"]}, {"layer": {"layer": "Linear"}}, {"layer": None}, {"layer": "Linear"},
        {"layer": "Module"}, {"layer": "os.system"}, {"layer": "__import__"}, {"layer": "Lineer"},
        {"layer": "Sequential"}, {"layer": "Sequential", "layers": "abc"}, {"layer": "Sequential", "layers": 3},
        {"layer": "Sequential", "layers": [3]}, {"layer": "Sequential", "layers": [ARCHITECTURE]},
        {"layer": "Softmax", "axis": "x"}, {"layer": "ReLU", "extra": 1},
        changed(in_features="2"), changed(in_features=2.5), changed(in_features=None), changed(in_features=-1),
        changed(in_features=[2]), changed(in_features=3), changed(out_features=2), changed(bias=False),
        changed(in_features=10**9), changed(in_features=10**9, out_features=10**9), changed(in_features=10**30),
        changed(extra=1), changed(rng=5), changed(weight_init="zeros"), changed(dtype="float64"), changed(dtype="O"),
        changed(self=1), changed(__class__=1),
    ],
    ids=lambda a: (a if isinstance(a, str) else json.dumps(a))[:50],
)  # fmt: skip
def test_a_hostile_architecture_is_a_data_error_and_runs_nothing(hostile, architecture):
    with pytest.raises(DataError, match=r"hostile\.safetensors: the architecture in the file"):
        hostile(architecture)


def test_an_unknown_layer_suggests_the_nearest(hostile):
    with pytest.raises(DataError, match="no layer called 'Lineer': did you mean 'Linear'"):
        hostile(changed(layer="Lineer"))


@pytest.mark.parametrize(
    "arrays",
    [
        {}, {"weight": ARRAYS["weight"]}, {**ARRAYS, "more": np.ones(3, np.float32)},
        {"weight": ARRAYS["weight"].T.copy(), "bias": ARRAYS["bias"]},
        {"wieght": ARRAYS["weight"], "bias": ARRAYS["bias"]}, {"0.weight": ARRAYS["weight"], "0.bias": ARRAYS["bias"]},
    ],
    ids=["none", "one missing", "one more", "transposed", "misspelt", "nested"],
)  # fmt: skip
def test_arrays_that_do_not_fit_the_architecture(hostile, arrays):
    with pytest.raises(DataError, match=r"hostile\.safetensors: "):
        hostile(arrays=arrays)


@pytest.mark.parametrize("dtype", ["object", "int8", "nope", "", "float32; import os", "<U5"])
def test_a_dtype_that_is_none(hostile, dtype):
    with pytest.raises(DataError, match=r"hostile\.safetensors: "):
        hostile(dtype=dtype)


def test_metadata_that_is_missing(tmp_path):
    path = tmp_path / "m"
    for metadata in ({"chainrule": "1"}, {"chainrule": "1", "architecture": json.dumps(ARCHITECTURE)}):
        path.write_bytes(to_bytes(ARRAYS, metadata))
        with pytest.raises(DataError, match="the architecture in the file lacks"):
            nn.load(path)
    path.write_bytes(to_bytes(ARRAYS, {"chainrule": "2", "architecture": "{}"}))
    with pytest.raises(DataError, match="format 1"):
        nn.load(path)
