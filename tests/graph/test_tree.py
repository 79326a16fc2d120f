"""Nested containers: flattened with names and built again in the same form."""

from collections import OrderedDict, namedtuple
from keyword import iskeyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.errors import ShapeError
from chainrule.graph import tree

forms = st.recursive(
    st.integers(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
    ),
    max_leaves=10,
)


@given(forms)
def test_what_was_flattened_is_rebuilt(form):
    assert tree.rebuild(form, [leaf for _, leaf in tree.flatten(form)]) == form


@given(forms)
def test_leaves_like_its_own_form_are_its_leaves(form):
    assert tree.leaves_like(form, form, "f") == [leaf for _, leaf in tree.flatten(form)]


@given(forms)
def test_names_of_the_leaves_are_identifiers(form):
    assert all(name.isidentifier() and not iskeyword(name) for name, _ in tree.flatten(form, "x"))


def test_keys_that_are_no_names_stand_behind_the_name_of_the_dict():
    assert [name for name, _ in tree.flatten({"lambda": 0, "a-½": 0, "σ": 0, 3: 0}, "p")] == [
        "p_lambda",
        "a__",
        "σ",
        "p_3",
    ]


def test_names_come_from_keys_and_places():
    params = {"W1": 1, "layers": [2, {"b": 3}], "0.weight": 4}
    assert tree.flatten(params, "params") == [("W1", 1), ("layers0", 2), ("b", 3), ("params_0_weight", 4)]


def test_dicts_are_matched_by_key():
    assert tree.leaves_like({"a": 0, "b": 0}, OrderedDict(b=2, a=1), "f") == [1, 2]


def test_namedtuples_stay_namedtuples():
    Pair = namedtuple("Pair", "first second")
    assert tree.map_leaves(lambda x: x + 1, Pair(1, [2])) == Pair(2, [3])


@pytest.mark.parametrize(
    ("form", "given", "says"),
    [
        ({"a": 0}, {"b": 0}, "keys a, found the keys b"),
        ({"a": 0}, [0], "found a list"),
        ([0, 0], [0], "list of 2, found 1"),
        ((0, 0), 5, "tuple of 2, found a int"),
    ],
)
def test_another_form_is_refused(form, given, says):
    with pytest.raises(ShapeError, match=f"^f: expected.*{says}"):
        tree.leaves_like(form, given, "f")
