# Cameras and the topics job: everything but the model, so no PyTorch and none of its gigabytes.
# Built from the repository's root: docker build -f infra/docker/camera.Dockerfile .
FROM python:3.11-slim

WORKDIR /app
COPY constraints.txt infra/docker/camera-requirements.txt ./
RUN pip install --no-cache-dir -c constraints.txt -r camera-requirements.txt

COPY pyproject.toml README.md LICENSE simvg.py ./
COPY infra infra
COPY producers producers
COPY consumers consumers
COPY simvg_core simvg_core
RUN pip install --no-cache-dir --no-deps -e . \
    && useradd --create-home --uid 10001 simvg

USER simvg
ENTRYPOINT ["simvg"]
CMD ["--help"]
