"""Policy: OPA as a local sidecar or a remote service, what is loaded into it, and how its answers are read.

Import from the modules, nothing is re-exported:

    from decision.policy.bundle import PolicySources       # what is loaded: PolicySources.from_settings(document)
    from decision.policy.opa_process import OpaSettings    # how OPA is reached: OpaSettings.from_settings(document)
    from decision.policy.engine import Engine, start_engine

    engine = await start_engine(PolicySources.from_settings(settings), OpaSettings.from_settings(settings),
                                on_event=None, watch=True)        # raises PolicyLoadError
    engine.revision, engine.people, engine.ready, await engine.evaluate(document), engine.on_change(callback)
    await engine.reload()      # -> the revision now in force; raises PolicyLoadError: then the old policy stays
    await engine.close()

`settings` is the decision service's settings document (docs/architecture.md) as parsed JSON. `on_event(name, fields)`
hears "policy-loaded", "policy-refused", "opa-started", "opa-exited", "opa-hung" for metrics; they are logged already.
`people` and `revision` swap together: read both without an await in between, and compare with the answer's
`PolicyResult.revision`. Where they differ the question was built under another policy and must be put again.

Tokens and people live in decision.identity:

    from decision.identity.dev_issuer import DevIssuer, refuse_off_loopback, start_dev_issuer
    from decision.identity.tokens import Verifier, build_verifier

    dev = await start_dev_issuer(state_dir, people=lambda: engine.people)     # only with run.dev
    verifier = build_verifier(settings["identity"]["issuers"], dev=run_dev, dev_issuer=dev)   # dev_issuer may be None
    await verifier.verify(token);  await verifier.close();  await dev.close()
"""
