"""From flags to a command: parsing, start-up, exit codes."""
