"""sha256sum(1): `sha256sum [FILE]...` prints digest and name; without FILE, or for -, stdin."""

import hashlib
import sys


def main(names: list[str]) -> int:
    """1 when a file could not be read."""
    code = 0
    for name in names or ["-"]:
        try:
            if name == "-":
                digest = hashlib.sha256(sys.stdin.buffer.read())
            else:
                with open(name, "rb") as file:  # noqa: PTH123 # pathlib would be half the start-up
                    digest = hashlib.file_digest(file, "sha256")
        except OSError as error:
            print(f"sha256sum: {name}: {error.strerror}", file=sys.stderr)
            code = 1
            continue
        print(f"{digest.hexdigest()}  {name}")
    return code


if __name__ == "__main__":
    sys.exit(main([name for name in sys.argv[1:] if name not in ("-b", "-t", "--")]))
