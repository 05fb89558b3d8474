PYTHON ?= python3
PIP = -m pip install --quiet --disable-pip-version-check

.PHONY: test lint format docs demo models adherence quality clean

# in two processes, a file in either: files that share a folder share what it takes long to set up
test: .venv/ready .venv-gradio4/ready
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests
	.venv-gradio4/bin/python -m pytest -m panel tests/webui

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

format: .venv/ready
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

docs: .venv/ready
	.venv/bin/python -m tools.documents README.md

# pictures of published texts, then the panel; ONCE=1 stops after the pictures, PORT= and GRADIO=4 as you like
DEMO_VENV = .venv$(if $(filter 4,$(GRADIO)),-gradio4)

demo: $(DEMO_VENV)/ready
	$(DEMO_VENV)/bin/python demo/launch.py --pictures --port $(or $(PORT),7860) $(if $(ONCE),--once)

# trains the demo's models anew (about an hour), and counts how often they paint what the caption says
models: .venv/ready
	.venv/bin/python -m tools.train_tiny --again

adherence: .venv/ready
	.venv/bin/python -m bench.adherence --drawn

# whether the guidance guides: the README's tables and the demo's sheets (half an hour)
quality: .venv/ready
	.venv/bin/python -m bench.quality --readme README.md --sheets demo/sheets

.venv/ready: tests/requirements.txt tests/requirements-no-deps.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) -r tests/requirements.txt
	.venv/bin/python $(PIP) --no-deps -r tests/requirements-no-deps.txt
	touch $@

.venv-gradio4/ready: tests/requirements-gradio4.txt tests/requirements-no-deps.txt
	$(PYTHON) -m venv .venv-gradio4
	.venv-gradio4/bin/python $(PIP) -r tests/requirements-gradio4.txt
	.venv-gradio4/bin/python $(PIP) --no-deps -r tests/requirements-no-deps.txt
	touch $@

clean:
	rm -rf .venv .venv-gradio4
