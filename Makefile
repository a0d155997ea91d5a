# Works with GNU make 3.81 (macOS) and later.
PRESET ?= demo
SEED ?= 0
DATA ?=
VIDEO ?=
LANDMARKS ?=
N ?=
START ?=

BIN := .venv/bin/python
IN_RANGE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
# A version manager may leave a python3.13 in the path that does not start, so each one is tried.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  $$p -c '$(IN_RANGE)' >/dev/null 2>&1 && { echo $$p; break; }; done)
DATA_OPTION = $(if $(DATA),--data "$(DATA)")
VIDEO_OPTION = $(if $(VIDEO),--video "$(VIDEO)") $(if $(LANDMARKS),--landmarks "$(LANDMARKS)") $(if $(START),--start "$(START)")

.DEFAULT_GOAL := help
.PHONY: help run test lab explore weights bench fuzz kills notebooks clean

help:  ## list these commands
	@echo "make run [DATA=folder] [VIDEO=file [LANDMARKS=file] [START=seconds]] [PRESET=demo] [SEED=0]"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-18s%s\n", $$1, $$2}'

run: .venv/.installed-run $(if $(VIDEO),.venv/.installed-video)  ## execute the notebooks (DATA: a CelebA folder, VIDEO: a video of a face)
	@$(BIN) -m idf run --preset "$(PRESET)" --seed "$(SEED)" $(DATA_OPTION) $(VIDEO_OPTION)

test: .venv/.installed-test  ## check the style, run all tests, notebooks included
	@$(BIN) -m ruff format --check --quiet
	@$(BIN) -m ruff check --quiet
	@OMP_NUM_THREADS=1 $(BIN) -m pytest -q -n 2 --dist loadfile

lab: .venv/.installed-run  ## open the notebooks in JupyterLab
	@$(BIN) -m jupyterlab --notebook-dir=.

explore: .venv/.installed-photos  ## try the defence with controls, in the browser (also on a photo of your own)
	@$(BIN) -m idf.apps.explorer

weights: .venv/.installed-run  ## train all shipped weights again (MASKS: a CelebAMask-HQ folder; resumes where it stopped)
	@$(BIN) -m idf weights $(DATA_OPTION)
	@$(if $(DATA),:,$(BIN) -m idf film-weights $(if $(MASKS),--masks "$(MASKS)"))

bench: .venv/.installed-run  ## measure speed, write data/results/speed.json
	@$(BIN) benchmarks/speed.py $(DATA_OPTION)

fuzz: .venv/.installed-test  ## read N malformed inputs, count tracebacks, write data/results/reliability.json
	@$(BIN) -m tools.fuzz --count "$(or $(N),1000)"

kills: .venv/.installed-test  ## kill commands at N random moments and start them again, write data/results/reliability.json
	@$(BIN) -m tools.kills --count "$(or $(N),50)"

notebooks: .venv/.installed-test  ## execute the notebooks and their solutions, keep the outputs in notebooks/
	@$(BIN) tools/run_notebooks.py

clean:  ## remove the virtual environment and caches (runs/ stays)
	rm -rf .venv *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find idf tests tools benchmarks notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

.venv/bin/python:
	@$(or $(PYTHON),false) -c '$(IN_RANGE)' >/dev/null 2>&1 || { \
	  echo "$(if $(PYTHON),$(PYTHON) is not,There is no) Python 3.11, 3.12 or 3.13 with venv:" \
	    "install one or name it with make PYTHON=/path/to/python." >&2; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/.installed-run: pyproject.toml .venv/bin/python
	@echo "Installing into .venv: a minute or two, several GB on Linux (PyTorch with its GPU libraries)."
	@$(BIN) -m pip install --disable-pip-version-check --editable .
	@touch $@

.venv/.installed-video .venv/.installed-photos: .venv/.installed-%: .venv/.installed-run
	@$(BIN) -m pip install --disable-pip-version-check --editable ".[$*]"
	@touch $@

.venv/.installed-test: .venv/.installed-run
	@$(BIN) -m pip install --disable-pip-version-check --editable ".[test,photos]"
	@touch $@
