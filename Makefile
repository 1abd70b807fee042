# Everything runs in a virtual environment of its own; a machine needs only python3 (3.11 to 3.13) and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
TEXT   ?= Hello, I am Makima. Tell me what you would like to hear.
OUT    ?= demo.wav

.PHONY: install demo test lint types bench chaos takeover roll fuzz clean

install: $(VENV)/.dev
demo: $(VENV)/.preview
	$(BIN)/makima-tts demo --engine preview --voice placeholder --out $(OUT) "$(TEXT)"
# Tests start many processes; each would compile torch and transformers anew where Python may keep no bytecode.
test: install
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -q
lint: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
types: install
	$(BIN)/mypy
bench: install
	$(BIN)/makima-tts bench queue --json -
# Breaks everything, in under six minutes: SEED= MINUTES= SETUP=valkey|redis|sentinel|cluster ENGINE=preview|qwen NAIVE=1 DAMAGE=0
chaos: install
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(SETUP),--setup $(SETUP)) $(if $(ENGINE),--engine $(ENGINE)) $(if $(filter 1,$(NAIVE)),--naive) $(if $(filter 0,$(DAMAGE)),--no-damage)
# Take-overs: N workers killed while they speak. Rolling restarts: with a grace period and almost without.
takeover: install
	$(BIN)/python -m tests.chaos.takeover --engine $(or $(ENGINE),preview) --n $(or $(N),20) $(if $(SEED),--seed $(SEED))
roll: install
	$(BIN)/python -m tests.chaos.roll --engine $(or $(ENGINE),preview) $(if $(SEED),--seed $(SEED))
# Malformed input for every parser, in under five minutes: SEED= N=100000
fuzz: install
	$(BIN)/python -m tests.fuzz --n $(or $(N),100000) $(if $(SEED),--seed $(SEED))
clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist $(OUT)

$(BIN)/uv: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	touch $@
$(VENV)/.preview: $(BIN)/uv pyproject.toml
	$(UV) --editable '.[preview]'
	touch $@
$(VENV)/.dev: $(BIN)/uv pyproject.toml
	$(UV) --editable '.[preview,qwen,dev]'
	touch $@ $(VENV)/.preview
