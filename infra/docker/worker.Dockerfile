# A worker, for CPU and GPU alike: the PyTorch of the package index brings CUDA; on a host without the NVIDIA container
# toolkit it runs on the CPU. For a small CPU-only image name an index with CPU builds: --build-arg EXTRA_INDEX_URL=…
# Built from the repository's root: docker build -f infra/docker/worker.Dockerfile .
FROM python:3.11-slim

ARG EXTRA_INDEX_URL=""
WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE simvg.py ./
COPY infra infra
COPY producers producers
COPY consumers consumers
COPY simvg_core simvg_core
RUN pip install --no-cache-dir ${EXTRA_INDEX_URL:+--extra-index-url "$EXTRA_INDEX_URL"} -c constraints.txt -e ".[edge,torch]" \
    && useradd --create-home --uid 10001 simvg \
    && mkdir -p /var/lib/simvg && chown simvg /var/lib/simvg
COPY models models

USER simvg
VOLUME /var/lib/simvg
ENTRYPOINT ["simvg"]
CMD ["work"]
