"""`python -m lpr_lightning` is the command line."""

from lpr_lightning.cli import main

if __name__ == "__main__":
    main()
