"""Replicated, fault-tolerant chat over gRPC."""
