"""The gRPC face of the decision service: who calls, what comes in, what goes out."""

import os

# gRPC reads this when it is imported, which only this package does. With its event engine a message passes two threads
# of a pool before the one that waits for it; without, that one reads the socket itself (docs/decisions/0017).
os.environ.setdefault(
    "GRPC_EXPERIMENTS",
    "-event_engine_client,-event_engine_listener,-event_engine_callback_cq,-event_engine_for_all_other_endpoints",
)
