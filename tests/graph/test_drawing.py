"""A graph draws itself: self-contained, well-formed, every op and shape on it, rules beside their ops."""

from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.graph import derive, trace
from chainrule.graph.drawing import BACKWARD, FORWARD, RESULT, Picture

SVG = "{http://www.w3.org/2000/svg}"


def three_layers():
    sizes = (784, 128, 64, 10)
    model = nn.Sequential(*[m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())][:-1])
    f, parameters = model.as_function()

    def loss(p, x, t):
        return cr.cross_entropy(f(p, x), t)

    graph = trace(loss, parameters, np.ones((5, 784), np.float32), np.zeros(5, int), batch={"x": 0, "t": 0})
    return derive(graph, list(parameters))


@pytest.fixture(scope="module")
def graph():
    return three_layers()


@pytest.fixture(scope="module")
def picture(graph):
    return Picture(graph)


def texts(svg):
    return [e.text for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_it_is_well_formed_and_needs_nothing_else(graph):
    svg = graph.svg()
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert "<script" not in svg
    assert "href" not in svg
    assert "url(" not in svg
    assert "prefers-color-scheme: dark" in svg


def test_the_shapes_and_the_legend_are_on_it(graph):
    found = texts(graph.svg())
    for text in ("(784, 128)", "(N, 128)", "(N, 64)", "(N, 10)", "()", "W1", "x", "forward", "backward", "parameter"):
        assert text in found


def test_backward_lines_stand_in_the_row_of_their_op(picture):
    ops = {n.label.split(" = ")[0]: n for n in picture.nodes.values()}
    forward = next(n for n in picture.nodes.values() if n.band == FORWARD and "@ W2" in n.label)
    assert ops["d_W2"].row == forward.row
    assert ops["d_W2"].band == RESULT
    backward = next(n for n in picture.nodes.values() if n.band == BACKWARD and "@ W2.T" in n.label)
    assert backward.row == forward.row


def test_no_two_boxes_overlap(picture):
    places = [(round(n.x), round(n.y)) for n in picture.nodes.values()]
    assert len(set(places)) == len(places)


def test_forward_runs_down_and_backward_up(picture):
    for n in picture.nodes.values():
        for u in n.uses:
            if u.band == n.band == FORWARD:
                assert u.y < n.y
            if u.band == n.band == BACKWARD:
                assert u.y > n.y


def test_transposes_reshapes_and_broadcasts_are_folded(graph):
    labels = " ".join(t for t in texts(graph.svg()) if t)
    for name in ("reshape", "broadcast", "transpose", "getitem"):
        assert name not in labels


def test_its_width_is_that_of_a_page(picture):
    assert picture.width < 1000


def test_text_is_escaped():
    def f(x):
        return np.where(x < 0.5, x, 0).sum()

    svg = trace(f, np.ones(3)).svg()
    assert "x &lt; 0.5" in svg
    ElementTree.fromstring(svg)


def test_a_graph_without_equations_is_drawn_too():
    ElementTree.fromstring(trace(lambda x: x, np.ones(3)).svg())


def test_a_constant_is_a_leaf_and_a_number_is_written_out():
    c = np.arange(3.0)
    found = texts(trace(lambda x: (x * c).sum() * np.ones(()) * 2.5, np.ones(3)).svg())
    assert "c1" in found
    assert any("2.5" in t for t in found)


def test_a_notebook_shows_the_picture_and_the_program(graph):
    html = graph._repr_html_()
    assert html.startswith("<svg")
    assert "matmul(x, W1)" in html


def test_it_is_the_same_to_the_byte():
    assert three_layers().svg() == three_layers().svg()
