# Everything runs in the virtual environment .venv; a machine needs only python3 (3.11 to 3.13) and make. The Rust crate
# needs cargo too.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
TEXT   ?= Hello, this is Makima. Tell me what you would like to hear.
OUT    ?= demo.wav
# Of `make relay`: the ports of Redis and of the web page.
PORT     ?= 6399
WEB_PORT ?= 8080
CRATE    := --manifest-path schemas/rust/Cargo.toml --quiet
FEATURES  = $(filter-out default,$(shell sed -n '/^\[features\]/,/^\[dep/s/^\([a-z]*\) = .*/\1/p' schemas/rust/Cargo.toml))
# Tests without a server and without a model.
QUICK  ?= $(foreach name,admission architecture audio docs engine errors log metrics settings text voice,$(wildcard tests/test_$(name)*.py)) tests/contract

.DEFAULT_GOAL := help
.PHONY: help install demo quality check test quick lint types fmt bench gpu chaos takeover roll rust relay fuzz clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-9s %s\n", $$1, $$2 }'
install: $(VENV)/.dev ## create .venv with all dependencies
demo: $(VENV)/.preview ## speak one sentence into demo.wav (TEXT=, OUT=)
	$(BIN)/makima-tts demo --engine preview --voice placeholder --out $(OUT) "$(TEXT)"
check: test lint types ## everything that a change must pass
# Tests start many processes; without bytecode each of them would compile torch and transformers again.
test: install ## run all tests, in parallel processes
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -q -n auto --dist worksteal
quick: install ## run the unit tests that need no model and few processes, in under a minute
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -q -m "not slow" $(QUICK)
lint: install ## check style with ruff
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
types: install ## check types with mypy --strict
	$(BIN)/mypy
fmt: install ## format the code and apply ruff's safe corrections
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .
quality: install ## judge the preview voice beside espeak-ng, in a few minutes
	$(BIN)/makima-tts bench quality --engine preview --voice placeholder --against espeak-ng
bench: install ## measure the queue
	$(BIN)/makima-tts bench queue --json -
# The checkpoint gets its name when it is complete.
gpu: install ## test and measure a CUDA GPU, in ten minutes (RESULTS=)
	[ -d .gpu/full ] || { $(BIN)/python -m benchmarks.checkpoint full .gpu/part && mv .gpu/part .gpu/full; }
	$(BIN)/python -m benchmarks.gpu --out $(or $(RESULTS),.gpu/results) --model .gpu/full
# SEED= MINUTES= SETUP=valkey|redis|sentinel|cluster ENGINE=preview|qwen VOICES=natural NAIVE=1 DAMAGE=0
chaos: install ## inject faults into workers and Redis, in under six minutes
	$(if $(VOICES),MAKIMA_TTS_PREVIEW_VOICES=$(VOICES)) PYTHONDONTWRITEBYTECODE= $(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(SETUP),--setup $(SETUP)) $(if $(ENGINE),--engine $(ENGINE)) $(if $(filter 1,$(NAIVE)),--naive) $(if $(filter 0,$(DAMAGE)),--no-damage)
takeover: install ## kill N workers while they speak and time the take-overs
	$(BIN)/python -m tests.chaos.takeover --engine $(or $(ENGINE),preview) --n $(or $(N),20) $(if $(SEED),--seed $(SEED))
roll: install ## restart three workers in turn under load
	$(BIN)/python -m tests.chaos.roll --engine $(or $(ENGINE),preview) $(if $(SEED),--seed $(SEED))
rust: ## check and test the Rust crate, and build its relay (needs cargo)
	@command -v cargo >/dev/null || { echo "cargo is missing; install Rust as https://rustup.rs describes" >&2; exit 1; }
	cargo fmt --manifest-path schemas/rust/Cargo.toml --check
	cargo clippy $(CRATE) --all-features --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc $(CRATE) --all-features --no-deps --lib --examples
	for feature in '' $(FEATURES); do cargo clippy $(CRATE) --no-default-features --features "$$feature" -- -D warnings || exit 1; done
	$(PYTHON) tools/msrv.py
	cargo build $(CRATE) --all-features --bins --examples
	cargo test $(CRATE) --all-features
# With the examples, because their dependencies are compiled for the tests too.
relay: $(VENV)/.preview ## build the Rust relay and start it beside `dev` until Ctrl-C (WEB_PORT=, PORT=)
	cargo build $(CRATE) --all-features --bins --examples
	$(BIN)/python tools/together.py $(PORT) $(BIN)/makima-tts dev --port $(PORT) -- \
		schemas/rust/target/debug/makima-tts-relay --redis-url redis://127.0.0.1:$(PORT)/0 --port $(WEB_PORT)
fuzz: install ## send malformed input to every parser, in under five minutes (SEED=, N=)
	$(BIN)/python -m tests.fuzz --n $(or $(N),100000) $(if $(SEED),--seed $(SEED))
clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis schemas/rust/target dist $(OUT)

$(BIN)/uv: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	touch $@
$(VENV)/.preview: $(BIN)/uv pyproject.toml
	$(UV) --editable '.[preview,preview-ja]'
	touch $@
$(VENV)/.dev: $(BIN)/uv pyproject.toml
	$(UV) --editable '.[preview,preview-ja,qwen,quality,otel,web,dev]'
	touch $@ $(VENV)/.preview
