"""What the gateways share."""

import os

# As in decision/rpc/__init__.py: gRPC reads it when it is imported. A message passes two threads less.
os.environ.setdefault(
    "GRPC_EXPERIMENTS",
    "-event_engine_client,-event_engine_listener,-event_engine_callback_cq,-event_engine_for_all_other_endpoints",
)
