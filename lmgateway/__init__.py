"""A self-hosted LLM routing gateway on Twisted: small, exact, and right on streams."""
