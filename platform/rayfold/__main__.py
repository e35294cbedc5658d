"""``python -m rayfold`` is the command ``rayfold``."""

from rayfold.cli import main

main()
