"""`queue …`: the operators' commands, one in each file."""
