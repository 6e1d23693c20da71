# autoseg in a container; docs/cluster.md says how to build and use it.
#   docker build -t autoseg --build-arg TORCH_INDEX=URL .
# TORCH_INDEX is the package index that pytorch.org names for your platform: the one for CPU gives a small image. Without
# it torch comes from the usual index, on Linux a CUDA build of several gigabytes.
FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX=""
RUN python -m venv /opt/autoseg
ENV PATH=/opt/autoseg/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch>=2.6,<2.14"
WORKDIR /src
COPY setup.cfg pyproject.toml LICENSE ./
COPY docs/package.md docs/package.md
COPY plans plans
COPY autoseg autoseg
RUN pip install . && python -m compileall -q /opt/autoseg/lib

FROM python:3.11-slim-bookworm
COPY --from=build /opt/autoseg /opt/autoseg
RUN useradd --create-home --uid 1000 autoseg
ENV PATH=/opt/autoseg/bin:$PATH MPLCONFIGDIR=/tmp
USER autoseg
WORKDIR /data
ENTRYPOINT ["autoseg"]
CMD ["--help"]
