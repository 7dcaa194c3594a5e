"""The first process of a private world: while its standard input is open, the world exists.

It ends when whoever holds the other end closes it or dies, however that happens; the kernel then
ends every process of the world, and with them go its mounts and networks.
"""

import signal
import sys

# Its children are nobody's to wait for.
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
sys.stdin.buffer.read()
