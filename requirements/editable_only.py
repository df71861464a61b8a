"""Builds this project for an editable install only: a wheel would lack configs/ and data/, which it works with."""

from typing import Any

from setuptools.build_meta import build_editable, get_requires_for_build_editable, prepare_metadata_for_build_editable

__all__ = ["build_editable", "build_sdist", "build_wheel", "get_requires_for_build_editable", "prepare_metadata_for_build_editable"]


def _refuse(*_: Any, **__: Any) -> str:
    raise SystemExit(
        "error: this project runs from a clone, since a wheel would lack its configs and data: clone it and run `make install`"
    )


build_wheel = build_sdist = _refuse
