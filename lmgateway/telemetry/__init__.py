"""What happened: traffic ring, access log, metrics."""
