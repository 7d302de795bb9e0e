# The image of image-syncer. Build it in a checkout: docker build -t image-syncer .
# It runs as any user, with a read-only root: only the state directory is written, where the configuration has a state.

ARG PYTHON=3.13
FROM docker.io/library/python:${PYTHON}-slim AS build
# Extras: --build-arg EXTRAS=daemon,trust,aws,kubernetes
ARG EXTRAS=daemon,trust
RUN pip install --no-cache-dir "uv>=0.8"
WORKDIR /build
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY src src
COPY docs/image-syncer.1 docs/
# The locked versions, compiled once, so that a read-only root starts as fast as any other.
RUN uv export --frozen --no-dev --no-emit-project --format requirements-txt \
        $(printf '%s' "${EXTRAS}" | tr ',' '\n' | sed -n 's/./--extra &/p') --output-file requirements.txt \
    && python -m venv --without-pip /opt/image-syncer \
    && uv pip install --python /opt/image-syncer/bin/python --no-cache --compile-bytecode -r requirements.txt \
    && uv pip install --python /opt/image-syncer/bin/python --no-cache --compile-bytecode --no-deps .

FROM docker.io/library/python:${PYTHON}-slim
COPY --from=build /opt/image-syncer /opt/image-syncer
# Any user may write the state: a volume that is mounted here has the owner and the mode of this directory.
RUN install -d -m 1777 /var/lib/image-syncer
ENV PATH=/opt/image-syncer/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_STATE_HOME=/var/lib
VOLUME /var/lib/image-syncer
USER 65532:65532
EXPOSE 8080
# The daemon drains at SIGTERM and is process 1 itself, so signals reach it.
STOPSIGNAL SIGTERM
ENTRYPOINT ["image-syncer"]
CMD ["--help"]
