"""The error for wrong input, as opposed to a mistake in the code."""


class InputError(Exception):
    """The input cannot be used; the message is one line that says where the problem is and how to fix it."""


class NormaliserWarning(UserWarning):
    """A model was trained on posts that another version of the normaliser had read, so its probabilities may be off."""
