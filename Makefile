# Everything runs in .venv, which the first target makes. Without PYTHON, python3 of the machine is taken (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test slow lint format type lerobot-env clean

help:
	@echo "make demo   set everything up and run the whole job once, small"
	@echo "make test   set everything up and run the tests"
	@echo "make slow   the long checks (also in CI)"
	@echo "make lint type format"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "palletlab needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $(READY)

demo: $(READY)
	@$(BIN)/palletlab demo

test: $(READY)
	$(BIN)/python -m pytest -m "not slow" -n 2 --durations=10

slow: $(READY)
	$(BIN)/python -m pytest -m slow --durations=10

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

type: $(READY)
	$(BIN)/pyright

# The real LeRobot package, in an environment of its own (1.4 GB): its pins exclude ours. Its dependency complaints are
# expected; tests/compat/read_with_lerobot.py says what is real and what is not.
LEROBOT := .venv-lerobot
lerobot-env: $(LEROBOT)/.ready

$(LEROBOT)/.ready:
	$(PYTHON) -m venv $(LEROBOT)
	$(LEROBOT)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(LEROBOT)/bin/pip install --quiet --disable-pip-version-check --no-deps lerobot==0.4.4 torchvision==0.25.0
	$(LEROBOT)/bin/pip install --quiet --disable-pip-version-check "datasets>=4,<5" "huggingface-hub>=0.34.2,<0.36" "av>=15,<16" \
		"packaging>=24.2,<26" "deepdiff>=7,<9" draccus==0.10.0 accelerate einops jsonlines termcolor pillow \
		"diffusers>=0.27.2,<0.36" "imageio>=2.34,<3" "gymnasium>=1.1,<2"
	$(LEROBOT)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt pyserial mcap mujoco scipy ur_rtde
	$(LEROBOT)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable . --editable ./lerobot_robot_palletlab
	@touch $@

clean:
	rm -rf $(VENV) $(LEROBOT) build *.egg-info
