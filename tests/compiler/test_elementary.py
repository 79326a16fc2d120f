"""The elementary functions of generated code against NumPy in a higher precision, over the whole range, to 2 ulp.

In plain Python nothing is contracted to a fused multiply-add; compiled, everything may be.
"""

import inspect
import re

import numpy as np
import pytest

from chainrule.compiler import elementary


def erf(x):
    """2/√π e^(-x²) Σ 2ⁿ x²ⁿ⁺¹ / (2n + 1)!!, whose terms have one sign. [NIST DLMF 7.6.2]"""
    c = np.clip(x, -6.5, 6.5)
    term = total = c * np.exp(-c * c)
    for n in range(1, 150):
        term = term * (2 * c * c / (2 * n + 1))
        total = total + term
    return total * 2 / np.sqrt(4 * np.arctan(np.ones_like(x)))


def sigmoid(x):
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


TRUTH = {
    "exp": np.exp,
    "expm1_": np.expm1,
    "log": np.log,
    "log1p_": np.log1p,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "erf": erf,
}
NAMES = [f"{name}{bits}" for bits in (32, 64) for name in TRUTH]
HIGHER = {32: np.float64, 64: np.longdouble}
LOOP = """
@njit(error_model="numpy", fastmath={{"contract", "reassoc", "nsz", "arcp"}})
def loop_{name}(x, y):
    for i in range(x.shape[0]):
        for j in range(64):
            y[i, j] = {name}(x[i, j])
"""


def dtype_of(name):
    return np.dtype(f"float{name[-2:]}")


def truth_of(name, x):
    """The function's values in the next higher precision, rounded nowhere."""
    bits = int(name[-2:])
    if bits == 64 and np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("NumPy's longdouble is no more than a double here.")
    with np.errstate(all="ignore"):
        return TRUTH[name[:-2]](x.astype(HIGHER[bits]))


def points(dtype, count):
    """All magnitudes, in equal numbers; the range of exp; the neighbourhood of 0."""
    random = np.random.default_rng(3)
    top = 100 if dtype == np.float32 else 760
    bits = random.integers(0, 2 ** (8 * dtype.itemsize), count, dtype=f"u{dtype.itemsize}", endpoint=False)
    near = random.uniform(-8, 8, count).astype(dtype)
    return np.concatenate([bits.view(dtype), random.uniform(-top, top, count).astype(dtype), near])


def assert_within_2_ulp(y, truth):
    """The same infinities, NaN and signs, and else no more than 2 ulp from the truth (which is not rounded)."""
    with np.errstate(all="ignore"):
        rounded = truth.astype(y.dtype)
        finite = np.isfinite(rounded) & np.isfinite(y)
        np.testing.assert_array_equal(y[~finite], rounded[~finite])
        number = ~np.isnan(rounded)
        np.testing.assert_array_equal(np.signbit(y[number]), np.signbit(rounded[number]))
        distance = np.abs(y.astype(truth.dtype) - truth) / np.abs(np.spacing(rounded))
    assert distance[finite].max() <= 2


def special(dtype):
    info = np.finfo(dtype)
    values = [0.0, -0.0, np.inf, -np.inf, np.nan, info.smallest_subnormal, -info.smallest_subnormal, info.tiny / 3]
    bounds = [
        np.log(info.max),
        np.nextafter(np.log(info.max), dtype.type(np.inf)),
        np.log(info.tiny),
        info.max,
        info.min,
    ]
    return np.array([*values, *bounds, 1, -1, -2, 1 + info.eps, -1 + info.eps], dtype)


@pytest.fixture(scope="module")
def compiled():
    """A loop over 64 columns for each function, in one module with the file's source, as the compiler copies it."""
    numba = pytest.importorskip("numba")
    space = {"np": np, "njit": numba.njit}
    functions = [inspect.getsource(f) for f in vars(elementary).values() if inspect.isfunction(f)]
    decorator = '@njit(error_model="numpy", fastmath={"contract"}, forceinline=True)\n'
    exec("\n".join([decorator + source for source in functions] + [LOOP.format(name=name) for name in NAMES]), space)
    return space


@pytest.mark.parametrize("name", NAMES)
def test_in_plain_python_the_values_are_within_2_ulp(name):
    function, dtype = getattr(elementary, name), dtype_of(name)
    x = np.concatenate([special(dtype), points(dtype, 100)])
    with np.errstate(all="ignore"):
        y = np.array([function(number) for number in x])
    assert y.dtype == dtype
    assert_within_2_ulp(y, truth_of(name, x))


@pytest.mark.parametrize("name", NAMES)
def test_compiled_the_values_are_within_2_ulp_and_the_loop_is_vector_code(compiled, name):
    dtype, loop = dtype_of(name), compiled[f"loop_{name}"]
    x = np.concatenate([special(dtype), points(dtype, 10_000 if name.startswith("erf") else 50_000)])
    x = np.resize(x, (x.size // 64 + 1, 64))
    y = np.empty_like(x)
    loop(x, y)
    assert_within_2_ulp(y, truth_of(name, x))
    (assembly,) = loop.inspect_asm().values()
    if "avx2" not in assembly_features():
        pytest.skip("The names of the instructions are known for AVX2.")
    suffix = "ps" if dtype == np.float32 else "pd"
    assert re.search(rf"\bv(fmadd\d+|mul){suffix}\b.*%[yz]mm", assembly)


def assembly_features():
    """The machine's instruction sets, by LLVM's names."""
    from llvmlite import binding

    return {name for name, present in binding.get_host_cpu_features().items() if present}


def test_exp_underflows_gradually_and_overflows_where_numpy_does():
    with np.errstate(all="ignore"):
        assert elementary.exp32(np.float32(-100)) == np.float32(np.exp(-100.0)) > 0
        assert elementary.exp32(np.float32(88.72283)) < np.inf == elementary.exp32(np.float32(88.72284))
        assert elementary.exp64(np.float64(-740)) == np.exp(np.float64(-740)) > 0
        assert (
            elementary.exp64(np.float64(709.782712893384)) < np.inf == elementary.exp64(np.float64(709.7827128933841))
        )
