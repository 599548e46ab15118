"""Tests of lmgateway; the folders mirror the package."""
