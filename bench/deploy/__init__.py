"""How long a push takes, beside what ansible-core and pyinfra need for the same without our proofs.

    .venv/bin/python -m bench.deploy [--rounds N] [--nodes N] [--alone]

Every tool has practice nodes of its own, behind real OpenSSH servers on loopback. The rounds of all
tools take turns, so that whatever else the machine does hits them alike; medians are printed.
"""
