"""The one exception that a user's mistake raises."""


class InputError(Exception):
    """Input that cannot be used: the message is one line that names the place and the remedy."""
