# The verbs a person types. Installation is theirs: each works from a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
# One thread a process: small models lose time to threads, and the same sums come out in the same order.
export OMP_NUM_THREADS := 1

# What the tests of `make test-system` need of the machine.
DEBIAN := chromium slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge postgresql nginx-light
NEEDED := chromium slurmctld pg_lsclusters nginx

.PHONY: demo test test-system ui lint clean

demo: $(BIN)/.installed
	@mmn demo

test: $(BIN)/.installed lint
	@pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not system"

# Needs root (or sudo) for Debian's Chromium, Slurm, Postgres and nginx.
test-system: $(BIN)/.installed-system
	@pytest -m system

ui: $(BIN)/.installed
	@mmn ui

lint: $(BIN)/.installed
	@ruff check . && ruff format --check . && mypy && lint-imports

$(BIN)/.installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): a few minutes, most of them for PyTorch."
	$(PYTHON) -m venv $(VENV)
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[demo,dev,search,xgboost]'
	@touch $@

$(BIN)/.installed-system: $(BIN)/.installed
	(for name in $(NEEDED); do PATH=$$PATH:/usr/sbin command -v $$name >/dev/null || exit 1; done) || { S=$$(command -v sudo || true); $$S apt-get update -qq && $$S apt-get install -y -qq --no-install-recommends $(DEBIAN); }
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[system]'
	@touch $@

clean:
	rm -rf $(VENV) artifacts raw .mmn .dagster
