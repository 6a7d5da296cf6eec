# Every target sets up .venv from requirements.lock first, if that is missing or out of date.
# Another interpreter: make repro PYTHON=python3.13
# A recipe: make repro RECIPE=dense_concat; it is put into params.yaml first (depthmask recipe lists them)

SHELL := bash
.DEFAULT_GOAL := help
ENVIRONMENT := .venv/.installed
OUTSIDE_PATH := $(PATH)
# stage commands say `python`, and so get the environment's
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONUNBUFFERED := 1

SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell PATH='$(OUTSIDE_PATH)'; for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c '$(SUITABLE)' 2> /dev/null && command -v $$p && break; done)
HERE := not gpu and not slurm and not browser
# a file stays with one process, for the folders that its tests share; each process with one thread
PYTEST = OMP_NUM_THREADS=1 python -m pytest -q -n $(CORES) --dist loadfile --no-loadscope-reorder
USE_RECIPE = $(if $(RECIPE),depthmask recipe '$(RECIPE)' --write)
# columns of dvc exp show: always four scores; neither files nor the other scores; of params those that differ
SCORES := test\.mask\.(iou|dice)$$|test\.depth\.(delta1|abs_rel)$$
NO_COLUMN := workflow/.*|data/.*|reports/.*|test\..*
COMMITS ?= 10
CORES ?= $(shell nproc 2> /dev/null || sysctl -n hw.ncpu)

.PHONY: help environment repro results snakemake leaderboard cross-validate sweep experiments unlock test test-all test-slow test-gpu test-browser test-app test-cluster lint deps docs lock clean

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 18

environment: $(ENVIRONMENT)  ## set up .venv and nothing else

repro: $(ENVIRONMENT)  ## from data to report with DVC, what is stale; then the scores
	@$(USE_RECIPE)
	@depthmask check > /dev/null  # before DVC, which waits where a pipe lies among the inputs
	dvc repro
	@depthmask scores
	@echo "the report: reports/index.html"

results: $(ENVIRONMENT)  ## run what is stale, and stage for a commit what git keeps of it: dvc.lock, scores, histories, run records
	@depthmask check > /dev/null
	dvc repro
	@PYTHONPATH=workflow python -m tools.committed_results --add

snakemake: $(ENVIRONMENT)  ## the same with Snakemake, on CORES cores
	@$(USE_RECIPE)
	snakemake --cores $(CORES)
	@depthmask scores
	@echo "the report: reports/index.html"

leaderboard: $(ENVIRONMENT)  ## train every recipe under equal conditions, side by side on CORES cores, and rank them
	cd leaderboard && snakemake --cores $(CORES)
	@cat leaderboard/reports/leaderboard.md
	@echo "the page: leaderboard/reports/leaderboard.html"

cross-validate: $(ENVIRONMENT)  ## train params.yaml on every fold from every seed, side by side on CORES cores: how sure are its scores?
	@$(USE_RECIPE)
	@depthmask check > /dev/null  # before DVC, which waits where a pipe lies among the inputs
	dvc repro pack weights
	cd cross_validation && snakemake --cores $(CORES)
	@cat cross_validation/reports/cross_validation.md
	@echo "the page: cross_validation/reports/cross_validation.html"

sweep: $(ENVIRONMENT)  ## search for better params as sweep/params.yaml says, trials side by side on CORES cores, and rank them
	cd sweep && snakemake --cores $(CORES)
	@cat sweep/reports/sweep.md
	@echo "the page: sweep/reports/sweep.html; the best params: depthmask recipe sweep/reports/best.yaml --write"

experiments: $(ENVIRONMENT)  ## the last COMMITS commits and their experiments: four scores, and the params that differ
	@dvc exp show --only-changed --no-pager --num $(COMMITS) --keep '$(SCORES)' --drop '$(NO_COLUMN)'

unlock: $(ENVIRONMENT)  ## after a Snakemake that was killed on another machine: remove its lock
	snakemake --unlock
	cd leaderboard && snakemake --unlock
	cd cross_validation && snakemake --unlock
	cd sweep && snakemake --unlock

test: $(ENVIRONMENT)  ## the everyday tests, in about 7 minutes on 2 cores
	$(PYTEST) -m "not slow and $(HERE)"

test-all: $(ENVIRONMENT)  ## every test that needs no GPU, cluster or browser, in about 45 minutes on 2 cores
	$(PYTEST) -m "$(HERE)"

test-slow:
	@echo "error: make test-slow is no more; make test-all runs every test, the slow ones too" >&2; exit 2

test-gpu: $(ENVIRONMENT)  ## the tests that need a GPU
	python -m pytest -q -m gpu

test-browser: $(ENVIRONMENT)  ## the page in headless Chromium: needs Debian's packages chromium and chromium-driver
	python -m pytest -q -m browser

# Gradio wants an older Pillow than requirements.lock pins: a layer above .venv, so that .venv stays as it is
APP := .venv/app
test-app: $(ENVIRONMENT)  ## the page of depthmask app in headless Chromium, with Gradio in .venv/app: needs what test-browser needs
	[ -e $(APP)/.installed ] || { python -m venv --clear $(APP) && \
	  python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' > $$(echo $(APP)/lib/python3.*/site-packages)/layer.pth && \
	  $(APP)/bin/pip install --quiet "$$(sed -nE 's/^app = \["([^"]*)"\].*/\1/p' pyproject.toml)" && touch $(APP)/.installed; }
	$(APP)/bin/python -m pytest -q tests/browser/test_app_in_browser.py

test-cluster: $(ENVIRONMENT)  ## two Slurm nodes on this machine, and a mock PBS: installs what they need; EVERY=1: the long tests too, and remotes
	tests/cluster/install.sh
	OMP_NUM_THREADS=1 python -m pytest -q -m '$(if $(EVERY),slurm or slow,(slurm and not slow) or (slow and not slurm))' tests/cluster \
	  $(if $(EVERY),tests/pipeline/test_two_machines.py tests/pipeline/test_remotes.py)

lint: $(ENVIRONMENT)  ## style, and whether the Snakefile is in order
	ruff check .
	snakemake --lint --quiet
	cd leaderboard && snakemake --lint --quiet
	cd cross_validation && snakemake --lint --quiet
	cd sweep && snakemake --lint --quiet
	snakemake --snakefile workflow/dataset.smk --lint --quiet --config out=made count=1

deps: $(ENVIRONMENT)  ## write into each dvc.yaml which files and folders of the library each stage's script imports
	PYTHONPATH=workflow python -m tools.stage_deps --write

docs: $(ENVIRONMENT)  ## write docs/params_reference.md from the schema and the comments of params.yaml
	PYTHONPATH=workflow python -m tools.params_reference --write

lock: check-python  ## bring requirements.lock up to date with pyproject.toml, pins that fit kept; UPGRADE=1: all to the newest
	'$(PYTHON)' -m venv --clear .venv/lock
	.venv/lock/bin/pip install --quiet uv
	cp requirements.lock .venv/lock/pins
	.venv/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-annotate --no-header \
	  $(if $(UPGRADE),--upgrade) pyproject.toml --output-file .venv/lock/pins
	{ grep '^#' requirements.lock; \
	  grep -vE "^(nvidia-[^m]|cuda-|triton)|; sys_platform == 'win32'$$" .venv/lock/pins; \
	} > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf .venv/lock

clean:  ## remove what runs leave beside results; neither results, nor DVC's cache, nor .venv
	rm -rf .snakemake .shards logs leaderboard/.snakemake leaderboard/logs cross_validation/.snakemake cross_validation/logs \
	  sweep/.snakemake sweep/logs .pytest_cache .ruff_cache .hypothesis
	find workflow tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: check-python
check-python:
	@'$(PYTHON)' -c '$(SUITABLE)' 2> /dev/null || { \
	  echo "error: Python 3.11 to 3.14 is required, found: $(or $(shell '$(or $(PYTHON),python3)' -V 2> /dev/null),none); install one," \
	    "or name it: make PYTHON=/path/to/python3.13" >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2> /dev/null || { \
	  echo "error: '$(PYTHON)' cannot create virtual environments;" \
	    "install its venv package (Debian, Ubuntu: sudo apt install python3-venv)" >&2; exit 1; }

# pip shows its progress on a terminal, and is quiet in a log
INSTALL = exec 3>&1; .venv/bin/python -m pip --disable-pip-version-check install $$(test -t 3 || echo --quiet)

# The commands of an environment name its folder: those of one that was moved or copied with the clone end in "bad interpreter", or
# run the first clone's code. So it is made again (moved), as if its Python is gone (dead); if it finds depthmask in another folder
# (elsewhere), depthmask is installed again. A link to an environment was made on purpose: it is replaced only if it is of no use.
FAULT := $(shell venv="$$(cd .venv 2> /dev/null && pwd -P)" || exit 0; \
	for command in pip dvc snakemake depthmask; do \
	  [ ! -e .venv/bin/$$command ] || head -n 2 .venv/bin/$$command | grep -qF -e "!$$venv/bin/python" \
	    -e "exec' $$venv/bin/python" -e "exec' \"$$venv/bin/python" || { echo moved; exit; }; \
	done; \
	[ -e .venv/.installed ] || exit 0; \
	.venv/bin/python -c '' 2> /dev/null || { echo dead; exit; }; \
	[ -L .venv ] || grep -qxF "$$(pwd -P)/workflow" .venv/lib*/python*/site-packages/__editable__.depthmask-*.pth 2> /dev/null || \
	  echo elsewhere)
WHY_moved := was set up in another folder: this clone was moved or copied; making it again
WHY_dead := lacks its Python, which was moved or removed; making it again
WHY_elsewhere := runs the code of another folder; installing this one
$(if $(FAULT),$(ENVIRONMENT): again)
.PHONY: again

# an environment without pip was interrupted; the stamp comes last, so an interrupted installation is begun again
$(ENVIRONMENT): requirements.lock pyproject.toml
	@$(MAKE) --no-print-directory check-python PYTHON='$(PYTHON)'
	@$(if $(FAULT),echo "note: .venv $(WHY_$(FAULT))")
	@$(if $(filter moved dead,$(FAULT)),[ ! -L .venv ] || rm .venv; rm -f $@)
	@echo "1/3 creating .venv with $$('$(PYTHON)' -V) (10 seconds)"
	@$(if $(filter moved dead,$(FAULT)),false,.venv/bin/python -m pip --version > /dev/null 2>&1) || '$(PYTHON)' -m venv --clear .venv
	@echo "2/3 installing $$(grep -vc '^#' requirements.lock) pinned packages (2 to 5 minutes; 2 GB, on Linux 6 GB with torch's GPU libraries)"
	@$(INSTALL) -r requirements.lock
	@echo "3/3 installing depthmask itself (10 seconds)"
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@
