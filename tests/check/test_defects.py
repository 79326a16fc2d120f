"""The defects of the reports that concern a derivative: rejected, with their cause; their twins pass."""

import numpy as np
import pytest

from chainrule import check
from chainrule.lab.defects import DEFECTS


def regression(rng):
    p = {"W": rng.normal(size=(5, 4)), "b": rng.normal(size=4)}
    return p, rng.normal(size=(6, 5)), rng.integers(0, 4, 6)


def one_sample(rng):
    p = {
        "W1": rng.normal(size=(5, 3)),
        "b1": rng.normal(size=3),
        "W2": rng.normal(size=(3, 4)),
        "b2": rng.normal(size=4),
    }
    return p, rng.normal(size=(1, 5)), 2


def on_itself(program, rng, make):
    """A program that returns its loss and its gradients."""
    return check.backward(program, program, make(rng))


def on_logits(program, rng):
    o, t = rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
    o[0] = [900, 0, -900, 0]  # where an output underflows
    t[0] = 2

    def loss(o, t):
        s = o - o.max(axis=1, keepdims=True)
        return -(s - np.log(np.exp(s).sum(axis=1, keepdims=True)))[np.arange(6), t].sum()

    return check.backward(loss, program, (o, t))


def on_op(program, rng, *shapes):
    return check.backward(program.forward, program.backward, [rng.uniform(0.5, 2, shape) for shape in shapes])


TWINS = {
    "6.3": (lambda program, rng: on_itself(program, rng, regression), {"other loss"}),
    "6.4": (lambda program, rng: on_itself(program, rng, one_sample), {"wrong axis"}),
    "6.5": (lambda program, rng: on_itself(program, rng, one_sample), {"wrong axis", "other loss"}),
    "6.10": (on_logits, None),  # NaN: not one of the causes
    "6.11": (lambda program, rng: on_itself(program, rng, regression), {"factor", "other loss"}),
    "6.13": (lambda program, rng: on_op(program, rng, (4, 3), (4, 3)), {"sign"}),
    "6.14": (lambda program, rng: on_op(program, rng, (4, 1)), {"missing sum"}),
    "6.18": (lambda program, rng: on_itself(program, rng, regression), {"factor"}),
}


def test_every_defect_that_concerns_a_derivative_is_here():
    assert set(TWINS) == {id for id, defect in DEFECTS.items() if defect.concerns_derivative}


@pytest.mark.parametrize("id", TWINS)
def test_the_defect_is_rejected_with_its_cause(id):
    judge, causes = TWINS[id]
    with np.errstate(all="ignore"):
        report = judge(DEFECTS[id].defective, np.random.default_rng(0))
    assert not report
    found = {finding.cause.kind for finding in report.findings if finding.cause}
    assert causes is None or found & causes, str(report)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("id", TWINS)
def test_its_twin_passes(id, seed):
    report = TWINS[id][0](DEFECTS[id].clean, np.random.default_rng(seed))
    assert report, str(report)
