"""The package as a whole: what an import costs, that no name hides another, and that everything is documented."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import chainrule

HEAVY = (
    "typer",
    "rich",
    "safetensors",
    "matplotlib",
    "scipy",
    "numba",
    "sklearn",
    "h5py",
    "pydantic",
    "jinja2",
    "torch",
)
ROOT = Path(chainrule.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# What stands on an extra cannot be imported without it.
MODULES = sorted(
    m.name for m in pkgutil.walk_packages(chainrule.__path__, "chainrule.") if not m.name.endswith("__main__")
)
PACKAGES = ["chainrule", *(m.name for m in pkgutil.walk_packages(chainrule.__path__, "chainrule.") if m.ispkg)]


def module(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").startswith("chainrule"):
            raise
        pytest.skip(f"needs {error.name}")


def public(owner):
    """The names that a module offers: without underscore, neither modules nor what others made."""
    names = getattr(owner, "__all__", None) or [name for name in vars(owner) if not name.startswith("_")]
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, types.ModuleType) and str(getattr(value, "__module__", "")).startswith("chainrule"):
            yield name, value


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_chainrule_imports_numpy_alone():
    loaded = python("import chainrule, sys; print('\\n'.join(sys.modules))").split()
    assert "numpy" in loaded
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)


@pytest.mark.parametrize("part", ["nn", "optim", "train", "data", "scalar"])
def test_parts_that_need_more_than_numpy_import_it_where_they_use_it(part):
    loaded = python(f"import chainrule.{part}, sys; print('\\n'.join(sys.modules))").split()
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)


def test_parts_and_the_trainer_are_there_without_an_import_of_their_own():
    code = "import chainrule as cr; print(cr.nn.Linear(2, 3), cr.Trainer.__name__, cr.data.arrays.__name__)"
    assert python(code).split() == ["Linear(2,", "3)", "Trainer", "arrays"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="chainrule has no attribute 'nothing'"):
        _ = chainrule.nothing


def test_the_names_of_the_design_are_public():
    names = """
        tensor Tensor no_grad grad value_and_grad vjp jvp jacobian hessian custom_vjp trace derive Graph Trainer tanh
        relu sigmoid softplus softmax log_softmax cross_entropy mean_squared_error stop_gradient manual_seed
        ChainruleError
    """
    assert [name for name in names.split() if not hasattr(chainrule, name)] == []
    assert isinstance(chainrule.__version__, str)


@pytest.mark.parametrize("name", PACKAGES)
def test_no_public_function_has_the_name_of_a_submodule(name):
    package = module(name)
    submodules = {m.name for m in pkgutil.iter_modules(package.__path__)}
    for m in submodules:
        if m != "__main__":
            module(f"{name}.{m}")  # a later import would overwrite the function, or the function hides the module
    hidden = {m for m in submodules if m in vars(package) and not isinstance(vars(package)[m], types.ModuleType)} | {
        n for n, value in public(package) if n in submodules
    }
    assert not hidden


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_opens_by_saying_what_it_is(path):
    first = path.read_text(encoding="utf-8").lstrip()
    assert first.startswith(('"""', "#")), "a docstring, or a comment for a file of comments"
    if not first.startswith("#"):
        assert len(first.split('"""')[1].split()) >= 4


@pytest.mark.parametrize("name", ["chainrule", *MODULES])
def test_every_public_name_is_documented(name):
    named = [(n, v) for n, v in public(module(name)) if inspect.isfunction(v) or inspect.isclass(v)]
    assert [n for n, value in named if not (value.__doc__ or "").strip()] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_method_of_what_a_package_offers_is_documented(name):
    """By itself, or by a base class: the rules of ops, `forward` of modules, what a callback is told."""
    undocumented = []
    for n, cls in public(module(name)):
        for member, value in vars(cls).items() if inspect.isclass(cls) else ():
            if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                described = any((getattr(vars(c).get(member), "__doc__", "") or "").strip() for c in cls.__mro__)
                if not described and member not in ("forward", "config", "arguments", "samples"):
                    undocumented.append(f"{n}.{member}")
    assert not undocumented
