"""`queue …`: what operators ask about the queue and do to it, a command a file."""
