"""The losses, their derivatives, and every option pass every check."""

from functools import partial

import checks
import pytest

import xploss

cross_entropy = xploss.sigmoid_cross_entropy
per_element = partial(cross_entropy, reduction="none")


def with_class_weights(logits, labels):
    """Nothing but rank promotion could spread them if they were not reshaped."""
    return cross_entropy(logits, labels, pos_weight=logits[0, :] * logits[0, :] + 0.5)


def with_every_option(function, **options):
    """The arrays among the options are made of the logits, to be of their library."""

    def with_options(logits, labels):
        return function(
            logits,
            labels,
            pos_weight=logits[0, :] * logits[0, :] + 0.5,
            label_smoothing=0.1,
            weights=logits[:, :1] * logits[:, :1] + 0.5,
            where=logits < 1.75,
            **options,
        )

    return with_options


def with_every_option_of_rows(function, **options):
    def with_options(logits, labels):
        row = logits[:, 0]
        return function(
            logits,
            labels,
            class_weights=logits[0, :] * logits[0, :] + 0.5,
            label_smoothing=0.1,
            weights=row * row + 0.5,
            where=row < 1.75,
            **options,
        )

    return with_options


def of_probabilities(function):
    return lambda logits, labels: function(logits * 0.1 + 0.5, labels)


rows = xploss.softmax_cross_entropy

LOSSES = {
    "per element": per_element,
    "mean": cross_entropy,
    "sum along an axis": partial(cross_entropy, reduction="sum", axis=0),
    "numbers as options": partial(cross_entropy, pos_weight=3.0, weights=2.0),
    "a weight a class": with_class_weights,
    "every option": with_every_option(per_element),
    "weighted mean": with_every_option(cross_entropy, reduction="weighted_mean"),
    "value_and_grad": xploss.value_and_grad(cross_entropy),
    "value_and_grad, per element": xploss.value_and_grad(per_element),
    "value_and_grad, every option": with_every_option(
        xploss.value_and_grad(cross_entropy), axis=1
    ),
    "grad_and_hess": xploss.grad_and_hess(cross_entropy),
    "grad_and_hess, every option": with_every_option(
        xploss.grad_and_hess(cross_entropy)
    ),
    "rows": rows,
    "rows, per row": partial(rows, reduction="none"),
    "rows, every option": with_every_option_of_rows(rows, z_loss=0.1),
    "rows, weighted mean": with_every_option_of_rows(rows, reduction="weighted_mean"),
    "rows, value_and_grad": with_every_option_of_rows(xploss.value_and_grad(rows)),
    "rows, grad_and_hess": with_every_option_of_rows(xploss.grad_and_hess(rows)),
    "rows, hessian_product": lambda x, y: xploss.hessian_product(rows)(x, y, x),
    "rows, focal": xploss.value_and_grad(xploss.softmax_focal_loss),
    "rows of probabilities": of_probabilities(xploss.categorical_cross_entropy),
    "probabilities": of_probabilities(xploss.binary_cross_entropy),
    "probabilities, clipped": of_probabilities(
        partial(xploss.binary_cross_entropy, eps=0.3, reduction="none")
    ),
    "probabilities, every option": of_probabilities(
        with_every_option(xploss.value_and_grad(xploss.binary_cross_entropy))
    ),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, marks=pytest.mark.library(library), id=check.__name__)
        for check, library in checks.LIBRARIES.items()
        if check is not checks.makes_no_copies
    ],
)
def test_loss_passes(check, name):
    check(LOSSES[name])
