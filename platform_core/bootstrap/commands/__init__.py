"""The commands of `arsenal`, a module for each noun."""
