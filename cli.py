"""Runs the command line from a checkout: `python cli.py ...`."""

from nafnet_deploy.cli import main

if __name__ == "__main__":
    main()
