"""`python -m streamgmm`: the command line. Floor 10."""

__all__: list[str] = []

from streamgmm.cli import main

if __name__ == "__main__":
    main()
