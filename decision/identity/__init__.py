"""Identity: who a token speaks for (issuers, keys, claims), and who that is in people.yaml."""
