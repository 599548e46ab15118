"""What is kept beyond the process: files and databases, written off the reactor."""
