"""Calls of the package that a training makes, written down."""

import functools


def noted(monkeypatch, home, name, note):
    """`note` is called with each call's first argument; then `home.name` is called.

    Before the example is loaded, which then finds this function there.
    """
    function = getattr(home, name)

    @functools.wraps(function)
    def noting(*args, **options):
        note(args[0])
        return function(*args, **options)

    monkeypatch.setattr(home, name, noting)
