# Every target creates what it needs by itself: a fresh machine has Python 3.11, make and pip.
SHELL := /bin/bash
PYTHON ?= python3
# A build of torch that fits the machine; by itself and with an exact version, so that pip takes no other.
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The documentation's site is built apart: no torch for whoever writes, and none of its packages for anybody else.
DOCS := .venv-docs
DOCS_READY := $(DOCS)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow chromium screenshots certify bench images test-images docs docs-serve lint format generate verify lock clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo: $(READY) ## Render a reel of 15 clips on this machine; Ctrl-C any time, the same command carries on.
	@$(BIN)/python examples/demo.py

test: $(READY) chromium ## Run the tests: no cluster, no Docker, no GPU.
	$(BIN)/python -m pytest -m "not slow and not radosgw and not images" -n 3 --dist loadfile

test-slow: $(READY) chromium ## Run the suites that take minutes, and those that need a Ceph RADOS Gateway (from Debian's packages).
	$(BIN)/python -m pytest -m slow --ignore tests/component/worker -n 2 --dist loadfile
	$(BIN)/python -m pytest -m slow tests/component/worker -n 2 --dist load
	tests/radosgw.sh $(BIN)/python -m pytest -m radosgw
	cd tests && $(CURDIR)/$(BIN)/python -m certification

# The page is tested in a browser: one on PATH, else Debian's. Where neither can be had those tests are skipped, and say so.
chromium:
	@for name in chromium chromium-browser google-chrome; do command -v $$name > /dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "installing Chromium for the tests of the page"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium > /dev/null \
			|| echo "Chromium can't be installed: the tests of the page are skipped"; \
	fi

screenshots: $(READY) chromium ## Take the pictures of the page in the docs anew.
	@cd tests && $(CURDIR)/$(BIN)/python -m browser.screenshots $(CURDIR)/docs/images/page

certify: $(READY) ## Certify the tiny pipelines of all families anew, and write docs/reference/certified.md.
	@cd tests && $(CURDIR)/$(BIN)/python -m certification --page $(CURDIR)/docs/reference/certified.md

# Of `make images`: the program that builds, where the images go, which torch, and from what.
BUILDER ?= $(firstword $(foreach each,docker podman buildah,$(if $(shell command -v $(each)),$(each))))
REGISTRY ?=
VARIANT ?= cuda
TORCH_INDEX_URL ?=
BASE ?= $(shell sed -n 's/^ARG BASE=//p' Dockerfile)
VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
REVISION = $(shell git rev-parse HEAD 2> /dev/null)
BUILD = $(BUILDER) build --build-arg BASE=$(BASE) --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION)

images: ## Build the images carryon and carryon-worker: REGISTRY=, VARIANT=cuda|cpu, TORCH_INDEX_URL=, BASE=.
	@test -n "$(BUILDER)" || { echo "make images needs docker, podman or buildah: install one, or name it by BUILDER="; exit 1; }
	$(BUILD) --tag $(REGISTRY:%=%/)carryon:$(VERSION) .
	$(BUILD) --tag $(REGISTRY:%=%/)carryon-worker:$(VERSION) --file worker-image/Dockerfile \
		--build-arg VARIANT=$(VARIANT) --build-arg TORCH_INDEX_URL=$(TORCH_INDEX_URL) .

test-images: $(READY) ## Build both images without a registry, and run them: as root, on Debian; takes ten minutes.
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/images/containers.sh python -m pytest -m images tests/images

bench: $(READY) ## Measure what journals, open pages, the operator and the API server cost; takes some half an hour of an idle machine.
	@cd tests && $(CURDIR)/$(BIN)/python -m bench

$(DOCS_READY): docs/site/requirements.lock
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r docs/site/requirements.lock
	@touch $@

# MkDocs prints an advertisement of its successor unless it is told not to.
docs: $(DOCS_READY) ## Build the documentation's site into site/: a link that leads nowhere is an error.
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

docs-serve: $(DOCS_READY) ## Show the documentation while you write it, on http://127.0.0.1:8000.
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs serve

lint: $(READY) verify docs ## Check style, types, import rules, generated files and the documentation's links.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile worker-image/Dockerfile

format: $(READY) ## Put the code into its form.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(READY) ## Make the generated files anew.
	$(BIN)/python -m carryon_core.crd
	$(BIN)/python -m carryon_core.reference
	$(BIN)/python -m carryon_core.action_table
	$(BIN)/python -m carryon_core.chart_files
	$(BIN)/python -m carryon_api.reference
	$(BIN)/python -m carryon_operator.metrics.reference
	$(BIN)/python -m carryon_standalone.kinds_file
	$(BIN)/python -m carryon_standalone.cli.command_page
	$(BIN)/python -m carryon_operator.reference

GENERATED := crds/carryon.dev_generationjobs.yaml $(addprefix charts/carryon/files/,crd.yaml dashboard.json) \
	standalone/carryon_standalone/apiserver/kinds.json \
	$(addprefix docs/reference/,spec.md actions.md api.md cli.md metrics.md operator.md values.md)

verify: $(READY) ## Fail where a generated file is not what its source makes.
	@rm -rf $(VENV)/generated && mkdir -p $(VENV)/generated && cp $(GENERATED) $(VENV)/generated
	@$(MAKE) --no-print-directory --silent generate
	@for file in $(GENERATED); do diff -u $(VENV)/generated/$$(basename $$file) $$file \
		|| { echo "$$file was stale and has been made anew: commit it"; exit 1; }; done

lock: ## Choose the versions anew that the lock files pin.
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-emit-package torch \
		--no-emit-index-url --no-header --no-annotate \
		--constraint <(echo $(firstword $(TORCH))) pyproject.toml \
		| grep -vE "^(nvidia|cuda|triton)" > requirements.lock  # torch brings its own
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --group docs --no-emit-index-url --no-header \
		--no-annotate > docs/site/requirements.lock

clean: ## Remove what was built, and the demo.
	rm -rf $(VENV) $(DOCS) site demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
