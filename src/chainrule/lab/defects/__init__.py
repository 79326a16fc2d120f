"""Defects that people really make, met in the five reports: each as a small program that has it beside one that is
clean. Both are called in the same way, so that whatever judges the one must let the other pass.

    DEFECTS["6.4"].defective      DEFECTS["6.4"].clean

The programs are written here, in plain NumPy or plain Python, in the shapes in which such code is found: a function
that returns gradients, a class with parameters, an optimiser, a training. They are specimens, not parts of the library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chainrule.lab.defects import derivatives, networks, training


@dataclass(frozen=True)
class Defect:
    """A defect and its twin without it.

    Attributes
    ----------
    id, report : str
        Its number, and the reports that have it.
    title : str
        What is wrong.
    symptom : str
        How it shows.
    defective, clean : callable
        A function or a class; both take the same arguments and give results of the same form.
    concerns_derivative : bool
        Whether what is returned as a derivative is, somewhere, not the derivative of what is returned as a value: then
        a derivative check should find it.
    """

    id: str
    report: str
    title: str
    symptom: str
    defective: Callable[..., Any]
    clean: Callable[..., Any]
    concerns_derivative: bool = False


_ALL = (
    Defect(
        "6.1",
        "vu-a1",
        "pre-activations are kept between samples and added to",
        "the same input twice gives different outputs; the loss stays near ln 2",
        networks.ScalarNetworkThatRemembers,
        networks.ScalarNetwork,
    ),
    Defect(
        "6.2",
        "vu-a1",
        "the validation loop updates the parameters",
        "parameters change during evaluation",
        training.TrainingThatLearnsWhileValidating,
        training.Training,
    ),
    Defect(
        "6.3",
        "vu-a1",
        "the loss is a binary cross-entropy, the gradient a categorical one",
        "the gradient is not that of the loss, which starts at .325 for ten classes instead of ln 10",
        derivatives.reports_another_loss,
        derivatives.softmax_regression,
        concerns_derivative=True,
    ),
    Defect(
        "6.4",
        "vu-a1",
        "bias gradients are summed over the wrong axis",
        "the output bias never moves, and all hidden biases are equal",
        derivatives.sums_biases_over_outputs,
        derivatives.one_sample,
        concerns_derivative=True,
    ),
    Defect(
        "6.5",
        "vu-a1",
        "softmax over the wrong axis",
        "each output of a single sample is 1, so its loss is 0",
        derivatives.softmax_over_samples,
        derivatives.one_sample,
        concerns_derivative=True,
    ),
    Defect(
        "6.6",
        "vu-a1",
        "initial weights scaled by the number of outputs",
        "the initial loss is far above ln 10",
        networks.NetworkScaledByFanOut,
        networks.Network,
    ),
    Defect(
        "6.7",
        "vu-a1",
        "a fixed seed in the initialiser, and three runs averaged",
        "the standard deviation over the runs is 0",
        training.three_runs_from_one_seed,
        training.three_runs,
    ),
    Defect(
        "6.8",
        "vu-a1",
        "weights said to be N(0, 1) have a root mean square of 5.8",
        "the sigmoids are saturated",
        networks.SmallNetworkWithLargeWeights,
        networks.SmallNetwork,
    ),
    Defect(
        "6.9",
        "vu-a1",
        "the loss is scaled by 2/C",
        "right for two classes only: for ten, the initial loss is a fifth of ln 10",
        derivatives.scaled_for_two_classes,
        derivatives.softmax_regression,
    ),
    Defect(
        "6.10",
        "ucsd-ece285",
        "the softmax is derived through -t/y",
        "NaN where an output underflows to 0",
        derivatives.cross_entropy_backward_in_two,
        derivatives.cross_entropy_backward,
        concerns_derivative=True,
    ),
    Defect(
        "6.11",
        "ucsd-ece285, usc-ee541",
        "the loss is averaged over samples and classes",
        "it is a tenth of the cross-entropy, and not what the gradient belongs to",
        derivatives.averages_over_classes,
        derivatives.softmax_regression,
        concerns_derivative=True,
    ),
    Defect(
        "6.12",
        "vu-a2",
        "a layer is missing from parameters()",
        "it never changes",
        networks.ModelThatForgetsALayer,
        networks.Model,
    ),
    Defect(
        "6.13",
        "vu-a2",
        "the sign in the quotient rule is lost",
        "the gradient check fails for the denominator",
        derivatives.DivideWithoutSign,
        derivatives.Divide,
        concerns_derivative=True,
    ),
    Defect(
        "6.14",
        "vu-a2",
        "the gradient of an expand is not summed",
        "it has the wrong shape",
        derivatives.ExpandWithoutSum,
        derivatives.Expand,
        concerns_derivative=True,
    ),
    Defect(
        "6.15",
        "vu-a2",
        '"momentum" only changes the learning rate',
        "no velocity: a constant gradient gives constant steps",
        training.MomentumWithoutVelocity,
        training.Momentum,
    ),
    Defect(
        "6.16",
        "vu-a2",
        "Adam with a learning rate of .1",
        "one class is predicted for everything",
        training.AdamTrainingTooFast,
        training.AdamTraining,
    ),
    Defect(
        "6.17",
        "usc-ee541",
        "softmax takes off the maximum of the whole batch",
        "a sample's output depends on its neighbours, up to NaN",
        derivatives.shifts_by_the_whole_batch,
        derivatives.softmax_regression,
    ),
    Defect(
        "6.18",
        "usc-ee541",
        "gradients are summed, not averaged",
        "duplicating the batch doubles the step",
        derivatives.sums_gradients,
        derivatives.softmax_regression,
        concerns_derivative=True,
    ),
    Defect(
        "6.19",
        "usc-ee541",
        "the training curve is never recorded",
        "an empty series",
        training.fit_without_training_curve,
        training.fit,
    ),
    Defect(
        "6.21",
        "usc-ee541",
        "the test set is read after every epoch and chooses",
        "other test data, another choice",
        training.choose_by_test,
        training.choose_and_test,
    ),
    Defect(
        "6.22",
        "ntnu-tdt4265",
        "ten layers whose gradients nobody measured",
        "the gradient of the first layer is a vanishing part of that of the last",
        networks.DeepNetworkThatVanishes,
        networks.DeepNetwork,
    ),
    Defect(
        "6.23",
        "ntnu-tdt4265",
        "a rising validation loss at the same accuracy is called better generalisation",
        "overfitting: the chosen epoch has a validation loss far above the lowest",
        training.fit_to_the_end,
        training.fit_and_stop,
    ),
    Defect(
        "6.24",
        "all",
        "unequal training budgets and single runs are compared",
        "different numbers of updates, and no spread",
        training.compare_batch_sizes_by_epochs,
        training.compare_batch_sizes,
    ),
)

DEFECTS = {defect.id: defect for defect in _ALL}
