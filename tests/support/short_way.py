"""Ordinary calls of rows, which go past the checks: what is called, by which way."""

from functools import partial

import xploss

LOSSES = {
    "cross-entropy": xploss.softmax_cross_entropy,
    "smoothed": partial(xploss.softmax_cross_entropy, label_smoothing=0.1),
    "z": partial(xploss.softmax_cross_entropy, z_loss=0.01),
    "focal": partial(xploss.softmax_focal_loss, gamma=1.5),
    "probabilities": xploss.categorical_cross_entropy,
}


def calls_by_checks(monkeypatch, backend):
    """Calls a function without the short way."""

    def call(function, *arguments, **options):
        with monkeypatch.context() as patch:
            patch.setattr(backend, "rows_at_once", lambda *_: None)
            return function(*arguments, **options)

    return call


def returned_at_once(monkeypatch, backend):
    """What the short way has returned, call by call."""
    returned, original = [], backend.rows_at_once

    def noted(*arguments):
        returned.append(original(*arguments))
        return returned[-1]

    monkeypatch.setattr(backend, "rows_at_once", noted)
    return returned


def quantities(name):
    """A loss and what is made of it, by name; each takes a reduction."""
    loss = LOSSES[name]
    yield loss
    yield xploss.value_and_grad(loss)
    if name != "probabilities":
        per_element = xploss.grad_and_hess(loss)
        yield lambda x, y, reduction: per_element(x, y)
