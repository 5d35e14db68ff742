"""`python -m valib` is the same as `valib`."""

from .command.cli import main

if __name__ == "__main__":
    main()
