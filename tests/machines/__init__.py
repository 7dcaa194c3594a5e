"""Real Debian 12 machines on this computer, on a LAN with no way out, for tests that need them.

    def test_something(serving_lan: Lan) -> None:   # fixtures.py: bare_lan, serving_lan, small_lan
        serving_lan["node-03"].kill()               # machine.py: power, freezing, disk, commands
        serving_lan.partition("kome", "okome")      # lan.py: cables
        serving_lan.service("vllm").stop()          # services.py: OKOME, GPU host, Redis
        ran = serving_lan.operator.kome_tui("deploy", "--json")     # operator.py

world.py is the private world all of it lives in, and why nothing is left of a killed run.
"""
