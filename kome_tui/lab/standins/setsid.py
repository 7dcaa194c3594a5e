"""setsid(1): `setsid [-f] [-w] COMMAND [ARGUMENT]...` runs a command in a new session.

Like the original it forks only when it has to: with -f, or when it leads its process group.
"""

import getopt
import os
import sys


def main(arguments: list[str]) -> int:
    """Become the command, or start it; 127 where there is no such command."""
    try:
        options, command = getopt.getopt(arguments, "fw", ["fork", "wait"])
    except getopt.GetoptError as error:
        print(f"setsid: {error}", file=sys.stderr)
        return 1
    if not command:
        print("setsid: no command specified", file=sys.stderr)
        return 1
    names = {name for name, _ in options}
    if names & {"-f", "--fork"} or os.getpgrp() == os.getpid():
        child = os.fork()
        if child:
            if not names & {"-w", "--wait"}:
                return 0
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            return code if code >= 0 else 128 - code
    os.setsid()
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"setsid: failed to execute {command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
