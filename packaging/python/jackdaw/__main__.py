"""The command `jackdaw`, and `python -m jackdaw`: becomes the program."""

import os
import sys

from jackdaw import BINARY


def main() -> None:
    os.execv(BINARY, ["jackdaw", *sys.argv[1:]])


if __name__ == "__main__":
    main()
