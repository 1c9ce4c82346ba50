"""The gRPC face of the decision service: who calls, what comes in, what goes out."""
