"""Launchers, which start the processes of groups; one in each file."""
