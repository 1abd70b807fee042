"""`doctor`: what is installed, reachable and fast enough, a check a file."""
