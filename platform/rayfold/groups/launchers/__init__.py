"""What starts the processes of groups, one file per way."""
