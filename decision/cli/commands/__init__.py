"""One module per command, each a thin layer of click over the modules beside this package."""
