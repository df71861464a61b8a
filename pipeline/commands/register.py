"""``python -m pipeline.commands.register``: make a trained model a version in MLflow's model registry."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import terminal
from pipeline.config_files import load_config


def main(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="Model directory, or released.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the registered model.")],
) -> None:
    """Register a model that was trained before.

    It becomes a version with a description, its metrics and its card. The first version of a name becomes champion; later ones must be
    promoted by evaluate.py. The store is that of MLFLOW_TRACKING_URI, or else sqlite:///mlflow.db.
    """
    with terminal.steps() as progress:
        progress("registering")
        from pipeline.model_location import THE_RELEASED, is_released, released_folder
        from pipeline.registering import register

        released = is_released(str(model))
        found = register(released_folder() if released else model, name, load_config().tracking)
    already = "" if found.new else "already "
    champion = ", the champion" if found.champion else f"; to make it the champion: evaluate.py --model {model} --promote {name}"
    print(f"model    {THE_RELEASED if released else model} is {already}version {found.version} of {name}{champion}")


if __name__ == "__main__":
    terminal.run(main)
