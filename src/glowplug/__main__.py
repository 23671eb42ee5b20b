"""`python -m glowplug`."""

from glowplug.cli.main import main

if __name__ == "__main__":
    main()
