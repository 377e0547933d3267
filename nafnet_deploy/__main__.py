"""`python -m nafnet_deploy` is the command `nafdeploy`."""

from nafnet_deploy.cli import main

if __name__ == "__main__":
    main()
