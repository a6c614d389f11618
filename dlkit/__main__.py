"""``python -m dlkit`` does what ``dlkit`` does, also where the script is not on the path."""

import sys

from dlkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
