"""An approval and what it asks for in words, the same for every reviewer: at a terminal, in a browser, in `explain`.

Pure functions over the API's messages. Every stranger's character is shown as what it is (escape.py); what a channel
adds is its own form, never another text.
"""
