"""What goes wrong by a user's input, not by a mistake in the code."""


class InputError(Exception):
    """Input that cannot be used: the message is one line that names the place and the remedy."""
