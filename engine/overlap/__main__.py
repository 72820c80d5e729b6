"""`python -m overlap` is `overlap`."""

from overlap.cli import main

main()
