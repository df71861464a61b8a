"""The program that serves a model over HTTP; `pipeline.tracking.serve` starts it.

It is run as ``python pipeline/tracking/server``, apart from the package around it, because the model brings its own copy of ``models``. So
its modules import nothing from this project.
"""
