"""HTTP/1.1 on Twisted, both ways: strict framing, absolute deadlines, back-pressure."""
