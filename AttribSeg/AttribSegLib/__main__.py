"""``python -m AttribSegLib`` is the command ``attribseg``; torchrun starts it with ``-m``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
