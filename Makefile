PYTHON ?= python3
PIP = -m pip install --quiet --disable-pip-version-check

.PHONY: test lint format docs clean

test: .venv/ready .venv-gradio4/ready
	.venv/bin/python -m pytest tests
	.venv-gradio4/bin/python -m pytest -m panel tests/webui

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

format: .venv/ready
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

docs: .venv/ready
	.venv/bin/python -m lib_sdfm.schema.docs README.md

.venv/ready: tests/requirements.txt tests/requirements-no-deps.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) -r tests/requirements.txt
	.venv/bin/python $(PIP) --no-deps -r tests/requirements-no-deps.txt
	touch $@

.venv-gradio4/ready: tests/requirements-gradio4.txt
	$(PYTHON) -m venv .venv-gradio4
	.venv-gradio4/bin/python $(PIP) -r tests/requirements-gradio4.txt
	touch $@

clean:
	rm -rf .venv .venv-gradio4
