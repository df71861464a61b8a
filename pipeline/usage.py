"""Say in one line what is wrong with the options and arguments of a command, of which typer says it in several."""

from difflib import get_close_matches

import typer
from pydantic import ValidationError
from typer.core import TyperArgument, TyperOption

from pipeline.config_files import got

_WITH = {"delta": "delta (with --engine spark)"}  # choices that need another option


def _allowed(parameter: TyperArgument | TyperOption) -> str:
    """Return what to give to an option that takes numbers or one of several words."""
    kind = parameter.type_descriptor
    if kind.choices:
        return f"choose one of {', '.join(_WITH.get(choice, choice) for choice in kind.choices)}"
    low, high = kind.parameter_info.min, kind.parameter_info.max
    bounds = "" if low is None else f" of at least {low}" if high is None else f" from {low} to {high}"
    return f"give {'a whole number' if kind.annotation is int else 'a number'}{bounds}"


def explain(error: typer.TyperException) -> str:
    """Return one line that says what is wrong with an option or argument, what is allowed, and what to do.

    Parameters
    ----------
    error : typer.TyperException
        What typer raised.
    """
    parameter, cause = getattr(error, "param", None), error.__cause__
    if isinstance(parameter, TyperArgument | TyperOption) and isinstance(cause, ValidationError):
        return f"{parameter.opts[0]}: {got(cause.errors()[0], _allowed(parameter))}"
    given, possible = getattr(error, "option_name", "").lstrip("-"), getattr(error, "possibilities", None) or []
    if near := [option for option in possible if get_close_matches(given, [option.lstrip("-")])]:
        return f"{error.message[:1].lower()}{error.message[1:]}; did you mean {' or '.join(near)}?"
    said = (error.message if possible else error.format_message()).rstrip(".").replace(". Did you", "; did you")
    said = said[:1].lower() + said[1:]
    context = getattr(error, "ctx", None)
    return said if said.endswith("?") else f"{said}; see {context.command_path + ' ' if context else ''}--help"
