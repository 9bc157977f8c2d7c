"""`python -m clerestory`."""

from clerestory.cli.main import main

if __name__ == "__main__":
    main()
