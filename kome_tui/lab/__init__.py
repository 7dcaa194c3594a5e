"""The practice fleet: real nginx nodes on 127.0.0.1, reached over real SSH, that can be broken.

Importing this package costs nothing; `control` and `faults` work without the extra `lab`.
"""
