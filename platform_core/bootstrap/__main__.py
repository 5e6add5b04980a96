"""`python -m platform_core.bootstrap` is the command `arsenal`, also where scripts are not on the path."""

from platform_core.bootstrap.cli import main

main()
