# The studio in a container:  docker build -t camlens-studio . && docker run -p 8765:8765 -e CAMLENS_STUDIO_TOKEN=secret camlens-studio
# Your own model and images:  docker run -p 8765:8765 -v "$PWD/photos:/data:ro" camlens-studio --model resnet50 --data /data
# A smaller image, without CUDA: add --build-arg PIP_EXTRA_INDEX_URL=... with the address of PyTorch's index for CPUs
FROM node:20-slim AS page
WORKDIR /src
COPY studio-ui studio-ui
RUN mkdir -p src/camlens/studio src/camlens/render/interactive \
    && cd studio-ui && npm ci --no-fund --no-audit && npm run build

FROM python:3.11-slim
ARG PIP_EXTRA_INDEX_URL
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY . .
COPY --from=page /src/src/camlens/studio/static src/camlens/studio/static
COPY --from=page /src/src/camlens/render/interactive/static src/camlens/render/interactive/static
RUN pip install --constraint constraints.txt '.[studio]' \
    && useradd --create-home --uid 10001 camlens \
    && rm -rf /src/*
USER camlens
WORKDIR /data
EXPOSE 8765
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/api/health', timeout=2)"]
# without CAMLENS_STUDIO_TOKEN a random token is made and printed
ENTRYPOINT ["camlens", "studio", "--host", "0.0.0.0", "--no-browser"]
CMD []
