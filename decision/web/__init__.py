"""The web pages on which people review: server-rendered, usable without JavaScript, live with it (ADR 40)."""
