# A worker. EXTRAS=preview speaks with espeak-ng on any machine, EXTRAS=qwen with the speech model on an NVIDIA GPU.
# MODEL=Qwen/Qwen3-TTS-12Hz-0.6B-Base (with EXTRAS=qwen) bakes its weights into /opt/model; without it, mount a directory
# of weights and name it in MAKIMA_TTS_MODEL.
FROM python:3.12-slim AS build
ARG EXTRAS=preview
ENV PIP_CONSTRAINT=/build/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /venv
# The dependencies first, with empty packages, so that a change of our code does not install them again.
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
RUN mkdir -p worker schemas/rust/page \
    && touch worker/__init__.py schemas/__init__.py schemas/rust/page/index.html \
    && /venv/bin/pip install ".[${EXTRAS}]"
COPY schemas schemas
COPY worker worker
RUN /venv/bin/pip install --no-deps --force-reinstall .
# After the installation, whose command it needs; what was fetched is kept for the next build. Empty without MODEL.
ARG MODEL=
RUN --mount=type=cache,target=/build/hub \
    mkdir -p /opt/model \
    && if [ -n "${MODEL}" ]; then HF_HOME=/build/hub /venv/bin/makima-tts model fetch "${MODEL}" --out /opt/model; fi

FROM python:3.12-slim
ARG EXTRAS=preview
# Triton compiles what launches a kernel on the GPU with gcc.
RUN case "${EXTRAS}" in *qwen*) \
        apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*;; \
    esac
RUN useradd --create-home --uid 10001 worker \
    && install -d -o worker -g worker /home/worker/.cache
COPY --from=build /opt/model /opt/model
COPY --from=build /venv /venv
COPY voices /app/voices
WORKDIR /app
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TRITON_CACHE_DIR=/home/worker/.cache/triton \
    MAKIMA_TTS_HEALTH_PORT=9100
USER worker
EXPOSE 9100
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['MAKIMA_TTS_HEALTH_PORT'] + '/readyz', timeout=4)"]
ENTRYPOINT ["makima-tts"]
CMD ["worker"]
