# `make` lists the targets. Everything is installed into .venv; nothing outside this folder changes.

VENV := .venv
BIN := $(VENV)/bin
SAMPLE := runtime/samples/two-instruments.mp4
OUT := out

# The inference engine: gpu where an NVIDIA driver is at work, cpu elsewhere. `make setup ENGINE=cpu` overrides it.
ENGINE ?= $(shell if nvidia-smi -L 2>/dev/null | grep -q '^GPU' \
	|| { [ -e /proc/driver/nvidia/version ] && [ -e /dev/nvidiactl ]; }; then echo gpu; else echo cpu; fi)
ENGINE := $(ENGINE)
ifeq ($(filter cpu gpu,$(ENGINE)),)
$(error ENGINE is "$(ENGINE)"; it may be cpu or gpu)
endif
OTHER_ENGINE := $(if $(filter gpu,$(ENGINE)),cpu,gpu)

# .venv/.has-ENGINE+EXTRA+...: the package is installed with these extras, and pyproject.toml has not changed since.
INSTALLED := $(VENV)/.has-$(ENGINE)
DEVELOP := $(INSTALLED)+train+fetch+export+demo+dev
comma := ,
# Bytecode is compiled as modules are first imported: torch alone would take half a minute here.
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-compile -c constraints.txt

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint install train export app bench report triton lock clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "Arguments for a command go into ARGS: make train ARGS='--help'"

setup: $(INSTALLED) ## create .venv and install what running a model needs (ENGINE=cpu or gpu; found by itself)
	@echo "avol is installed in $(VENV) with the $(ENGINE) engine: $(BIN)/avol-run VIDEO"

demo: setup ## run the bundled model on the bundled video; results in out/
	@mkdir -p $(OUT)
	@$(BIN)/avol-run $(SAMPLE) --output-dir $(OUT) $(ARGS)
	@echo "overlay video: $(CURDIR)/$(OUT)/$(basename $(notdir $(SAMPLE))).avol.mp4"
	@echo "timeline:      $(CURDIR)/$(OUT)/$(basename $(notdir $(SAMPLE))).avol.json"

test: $(DEVELOP) ## run all tests (AVOL_REQUIRE=gpu,browser,shared,triton: fail where that is absent instead of skipping)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

lint: $(DEVELOP) ## check style, types and who may import whom
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

install: $(DEVELOP) ## install what test and lint need

train: $(INSTALLED)+train ## avol train: train a model
	@$(BIN)/avol train $(ARGS)

export: $(INSTALLED)+export ## avol export: turn a checkpoint into graphs for devices
	@$(BIN)/avol export $(ARGS)

app: $(INSTALLED)+demo ## avol demo: the model in a browser
	@$(BIN)/avol-demo $(ARGS)

report: $(INSTALLED)+train+dev ## write reports/README.md and its figures anew from the committed results
	@$(BIN)/python reports/build.py

TRITON := build/tritonserver/pytriton/tritonserver/bin/tritonserver
triton: $(TRITON) ## fetch NVIDIA Triton's server, by which tests have configurations read (55 MB)

# The server inside the wheel needs no installing, only the libraries beside it.
$(TRITON): | $(BIN)/python
	@rm -rf build/tritonserver
	@$(BIN)/python -m pip download --disable-pip-version-check --quiet --no-deps -d build/tritonserver \
		nvidia-pytriton==0.7.0
	@$(BIN)/python -m zipfile -e build/tritonserver/*.whl build/tritonserver
	@rm build/tritonserver/*.whl
	@chmod +x $@

bench: $(INSTALLED) ## avol bench: measure speed on this machine
	@$(BIN)/avol bench $(ARGS)

lock: $(BIN)/python ## resolve constraints.txt anew (newest versions that fit pyproject.toml)
	@$(BIN)/python -m venv build/lock
	@build/lock/bin/pip install --disable-pip-version-check --quiet uv
	@build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --no-header \
		--no-emit-index-url --annotation-style line --output-file constraints.txt pyproject.toml
	@git --no-pager diff --stat -- constraints.txt

clean: ## remove build products, caches and out/ (keeps .venv and runs/)
	@rm -rf $(OUT) build dist src/avol.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find apps export runtime train tests src -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## as clean, and remove .venv
	@rm -rf $(VENV)

# The first of these that the libraries have wheels for; PYTHON=... overrides the choice.
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14)
$(BIN)/python:
	@for python in $(PYTHONS); do \
		"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || continue; \
		echo "creating $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv $(VENV) && exit 0; \
		rm -rf $(VENV); \
		echo "$$python cannot create virtual environments (on Debian and Ubuntu: apt install python3-venv)." >&2; \
		exit 1; \
	done; \
	echo "avol needs Python 3.11 to 3.14, and found none of that kind: $(PYTHONS)." \
		"Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; \
	exit 1

# onnxruntime and onnxruntime-gpu are one module: the other one leaves before this one comes.
define install_with
	@if [ -n "$$(ls $(VENV)/.has-$(OTHER_ENGINE)* 2>/dev/null)" ]; then \
		echo "changing the engine from $(OTHER_ENGINE) to $(ENGINE)"; \
		$(BIN)/python -m pip uninstall --quiet --yes onnxruntime onnxruntime-gpu && rm -f $(VENV)/.has-*; \
	fi
	@echo "installing avol[$(1)] into $(VENV)"
	@$(PIP_INSTALL) -e '.[$(1)]'
	@touch $@
endef

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(call install_with,$(ENGINE))

$(INSTALLED)+%: pyproject.toml constraints.txt | $(BIN)/python
	$(call install_with,$(ENGINE)$(comma)$(subst +,$(comma),$*))
