# The control plane: operator and API in one image, with an entry point each.
#
#   docker build -t carryon .                                 (or podman, or buildah: `make images`)
#   docker run carryon carryon-operator --help
#   docker run carryon carryon-api --help
#
# For builds that repeat to the byte, give the base by digest: --build-arg BASE=python:3.11.14-slim-bookworm@sha256:...
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv --without-pip /opt/carryon
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY crds/carryon_core crds/carryon_core
COPY store/carryon_store store/carryon_store
COPY jobs/carryon_jobs jobs/carryon_jobs
COPY kube/carryon_kube kube/carryon_kube
COPY operator/carryon_operator operator/carryon_operator
COPY api/carryon_api api/carryon_api
# Then scripts of parts that are not in here go, and whatever was forgotten above fails the build.
RUN python3 -m pip --python /opt/carryon/bin/python install --constraint requirements.lock ".[operator,api]" \
    && rm /opt/carryon/bin/carryon /opt/carryon/bin/kubectl-carryon /opt/carryon/bin/kubectl_complete-carryon \
        /opt/carryon/bin/carryon-worker \
    && /opt/carryon/bin/carryon-operator --help > /dev/null \
    && /opt/carryon/bin/carryon-api --help > /dev/null

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="carryon" \
      org.opencontainers.image.description="Operator and API of Carryon: generation jobs that carry on" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 carryon \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin carryon
COPY --from=build /opt/carryon /opt/carryon
ENV PATH=/opt/carryon/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /
# Of the operator and of the API.
EXPOSE 8081 8090
CMD ["carryon-operator"]
