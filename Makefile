# The two commands of this project, and one for figures. Both do all set-up on a machine with git, make and python3.
#
#   make run    the console, open on a practice fleet of real nginx nodes on this machine
#   make test   everything that is checked: style, types, layers, shell, and the tests

.PHONY: run test

run:
	@sh scripts/setup.sh run
	@.venv/bin/kome-tui lab

test:
	@sh scripts/setup.sh test
	@sh scripts/checks.sh

# Longer than a test, and not part of one: how long a push takes, and what the rendered nginx costs
# and keeps (docs/measured.md). About 12 minutes; the figures want a machine with nothing else to do.
.PHONY: bench
bench:
	@sh scripts/setup.sh run
	@.venv/bin/python -m bench.deploy
	@.venv/bin/python -m bench.nginx.serving
	@.venv/bin/python -m bench.nginx.hop
	@.venv/bin/python -m bench.nginx.reload
	@.venv/bin/python -m bench.nginx.idle

# What a push survives, in full: random interruptions, named steps, power cuts, two consoles (docs/measured.md).
#   make trials TRIALS="--seed 7 --cuts 20 cuts"
.PHONY: trials
trials:
	@sh scripts/setup.sh test
	@.venv/bin/python -m trials $(TRIALS)
