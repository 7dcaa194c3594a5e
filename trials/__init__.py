"""Long proofs of what a push survives: random interruptions, named steps, power cuts, two consoles.

    python -m trials --help

Each part takes a count and a seed, gives a Tally, and stops by itself. Everything happens on this
machine, on nodes of tests.node_machine.
"""
