"""`python -m infinitic` is the command `infinitic`."""

from infinitic.cli import main

if __name__ == "__main__":
    main()
