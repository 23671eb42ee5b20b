# Every target calls one script of the same name; CI calls the same ones.
.DEFAULT_GOAL := help
.PHONY: help install demo test lint chaos bench soak clean

help:            ## Show this list
	@grep -hE '^[a-z]+: +## ' Makefile | sed -E 's/^([a-z]+): +## /\1\t/' | expand -t 12

install:         ## Make .venv and install Glowplug with what the demo needs
	@scripts/install

demo:            ## Watch a model become ready and draw digits (ONCE=1: exit after the first picture)
	@scripts/demo

test:            ## Install and run every suite
	@scripts/test

lint:            ## Style, types and import rules
	@scripts/lint

chaos:           ## The long fault tests: hundreds of kill -9
	@scripts/test -m chaos --timeout 3600

bench:           ## Measure every claim of the README and print one table
	@scripts/bench

soak:            ## Four thousand kill -9 under work, about half an hour
	@scripts/test -m soak --timeout 5400

clean:           ## Remove the environment and everything built
	rm -rf .venv build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis
