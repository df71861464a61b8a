# An image for scoring, training, serving and MLflow's server. docs/how_to/containers.md says how to use it.
# A tag may mean another image tomorrow. To build the same image again, name the base by its digest:
#   docker build --build-arg PYTHON=python:3.11-slim-bookworm@sha256:… .
ARG PYTHON=python:3.11-slim-bookworm
FROM ${PYTHON}

WORKDIR /app
COPY requirements/ requirements/
# Wheels alone, so that no compiler is needed, and only those whose hashes are in the lock.
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: --requirement requirements/server.txt

COPY pyproject.toml README.md LICENSE train.py evaluate.py score.py ./
COPY models/ models/
COPY pipeline/ pipeline/
COPY configs/ configs/
COPY data/ data/
# The command `disclosure`, as `make install` provides it. Modules are compiled here, because the file system may be read-only later.
RUN pip install --no-cache-dir --no-deps --no-index --no-build-isolation --editable . && python -m compileall -q models pipeline

# What is written goes to volumes, to /work or to /tmp. The name of the user is for MLflow, whatever user is chosen instead of this one.
RUN useradd --uid 10001 --no-create-home --home-dir /tmp disclosure && mkdir /work && chown disclosure:disclosure /work
ENV HOME=/tmp LOGNAME=disclosure PYTHONUNBUFFERED=1 MLFLOW_DISABLE_TELEMETRY=true
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["disclosure"]
CMD ["--help"]
