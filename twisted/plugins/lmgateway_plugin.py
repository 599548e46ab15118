"""Teaches ``twistd`` the word ``lmgateway``; imported at each start, so it imports little."""

from twisted.application.service import ServiceMaker

lmgateway = ServiceMaker(
    "lmgateway",
    "lmgateway.service.start",
    "A self-hosted LLM routing gateway.",
    "lmgateway",
)
