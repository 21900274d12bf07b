"""`python -m kwise`: the command line without its script."""

import sys

from kwise.cli import main

if __name__ == "__main__":
    sys.exit(main())
