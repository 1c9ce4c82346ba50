"""An error of the configuration names file, line and key, says the fix, and never shows a value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.cli import config
from decision.cli.config import Loaded, check_run, variables
from decision.cli.errors import ConfigError, Problem

GOOD = """\
identity:
  issuers:
    - issuer: https://idp.example.com
      audience: twokey
      profile: rfc9068
      roles: {claim: groups, map: {agents-plan: planner}}
people: people.yaml
connections:
  - name: crm
    kind: postgres
    environment: production
    upstream: postgresql://127.0.0.1:5432/crm
    credentials:
      planner: {user: crm_ro, password: {env: CRM_RO_PASSWORD}}
      executor: {user: crm_app, password: {file: secret.txt, on_disk: true}}
    classification: crm.classification.yaml
store: sqlite:///state/twokey.db
"""
PEOPLE = """\
principals:
  - {name: alice, identities: [{iss: "https://idp.example.com", sub: "8f3"}], groups: [dba]}
agents:
  - {name: executor-7, identities: [{iss: "https://idp.example.com", sub: agents/executor-7}], owner: alice}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "twokey.yaml").write_text(GOOD)
    (tmp_path / "people.yaml").write_text(PEOPLE)
    (tmp_path / "crm.classification.yaml").write_text("public.customers.email: pii\n")
    (tmp_path / "secret.txt").write_text("s3cret")
    return tmp_path


def change(folder: Path, old: str, new: str, file: str = "twokey.yaml") -> None:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))


def refused(folder: Path) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        config.load(folder / "twokey.yaml")
    return caught.value.problems


def line_of(folder: Path, text: str, file: str = "twokey.yaml") -> int:
    lines = (folder / file).read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)


def only(folder: Path) -> Problem:
    problems = refused(folder)
    assert len(problems) == 1, problems
    return problems[0]


def loaded(folder: Path) -> Loaded:
    return config.load(folder / "twokey.yaml")


def test_a_good_one_loads_with_absolute_paths(folder: Path) -> None:
    good = loaded(folder)
    assert good.config.connections[0].name == "crm"
    assert good.state_dir == folder / "state"
    assert good.run_file == folder / "state" / "run.json"
    assert good.people.agents[0].owner == "alice"
    assert variables(good.config) == {"CRM_RO_PASSWORD"}


@pytest.mark.parametrize(
    ("old", "new", "key", "message", "fix"),
    [
        ("    kind: postgres", "    kindd: postgres", "connections[0].kindd", "unknown key", "did you mean 'kind'?"),
        ("people: people.yaml", "pepole: people.yaml", "pepole", "unknown key", "did you mean 'people'?"),
        ("kind: postgres", "kind: postgress", "connections[0].kind", "'postgres' or 'ssh'", "did you mean 'postgres'?"),
        ("name: crm", "name: CRM!", "connections[0].name", "lower-case", ""),
        ("profile: rfc9068", "profile: rfc9086", "identity.issuers[0].profile", "'rfc9068'", "'rfc9068'"),
        ("https://idp", "http://idp", "identity.issuers[0]", "https", ""),
        ("https://idp.example.com", "urn:twokey:dev", "identity.issuers[0]", "dev issuer", "--dev"),
        ("{env: CRM_RO_PASSWORD}", "hunter2", "connections[0].credentials.planner.password", "inline", "env: NAME"),
        ("{env: CRM_RO_PASSWORD}", "{env: 'hunter2!'}", "connections[0].credentials.planner.password", "variable", ""),
        (
            "{env: CRM_RO_PASSWORD}",
            "{env: A, file: b}",
            "connections[0].credentials.planner.password",
            "exactly one",
            "",
        ),
        ("{env: CRM_RO_PASSWORD}", "{}", "connections[0].credentials.planner.password", "exactly one", "env: NAME"),
        (
            "//127.0.0.1:5432/crm",
            "//u:hunter2@127.0.0.1/crm",
            "connections[0].upstream",
            "user or password",
            "credentials",
        ),
        ("//127.0.0.1:5432/crm", "//127.0.0.1:5432", "connections[0].upstream", "URL like", ""),
        ("//127.0.0.1:5432/crm", "//127.0.0.1:99999/crm", "connections[0].upstream", "URL like", ""),
        ("5432/crm", "5432/crm?host=db.internal", "connections[0].upstream", "not its own", "sslmode"),
        ("5432/crm", "5432/crm?password=hunter2", "connections[0].upstream", "not its own", "sslmode"),
        ("5432/crm", "5432/crm?hunter2=x", "connections[0].upstream", "not its own", "sslmode"),
        ("5432/crm", "5432/crm?sslmode=prefer", "connections[0].upstream", "verify-full", ""),
        ("5432/crm", "5432/crm?sslmode=require&sslmode=disable", "connections[0].upstream", "once", ""),
        ("5432/crm", "5432/crm?require_auth=!hunter2", "connections[0].upstream", "require_auth", "correct"),
        ("5432/crm", "5432/crm?sslnegotiation=direct", "connections[0].upstream", "without TLS", "verify-full"),
        ("5432/crm", "5432/crm#hunter2", "connections[0].upstream", "#", "remove"),
        ("//127.0.0.1:5432/crm", "///crm", "connections[0].upstream", "no host", "127.0.0.1"),
        ("sqlite:///state/twokey.db", "postgresql://u:hunter2@h/db", "store", "password", "{env: NAME}"),
        ("sqlite:///state/twokey.db", "postgresql://h/", "store", "no database", "passfile"),
        ("sqlite:///state/twokey.db", "mysql://h/db", "store", "URL like", ""),
        (
            "upstream: postgresql://127.0.0.1:5432/crm",
            "upstream: ssh://127.0.0.1:22",
            "connections[0].upstream",
            "URL like",
            "",
        ),
        ("crm.classification.yaml", "none.yaml", "connections[0].classification", "no such file", "remove the key"),
    ],
)
def test_a_fault_names_its_line_key_and_fix(folder: Path, old: str, new: str, key: str, message: str, fix: str) -> None:
    change(folder, old, new)
    problems = refused(folder)
    problem = next(found for found in problems if found.key == key)
    assert problem.line == line_of(folder, new.splitlines()[0]) or key == "identity.issuers[0]"
    assert message in problem.message
    assert fix in problem.fix
    assert str(problem).startswith(problem.file + f":{problem.line}: {key}:")
    assert "hunter2" not in str(problem)


def test_a_missing_key_is_named(folder: Path) -> None:
    change(folder, "people: people.yaml\n", "")
    assert "'people' is missing" in only(folder).message


def test_every_fault_is_listed_at_once(folder: Path) -> None:
    change(folder, "kind: postgres", "kind: oracle")
    change(folder, "profile: rfc9068", "profile: none")
    assert {problem.key for problem in refused(folder)} == {"connections[0].kind", "identity.issuers[0].profile"}


def test_a_store_s_password_has_a_source(folder: Path) -> None:
    store = "{url: postgresql://u@db.example/twokey, password: {env: STORE_PASSWORD}}"
    change(folder, "sqlite:///state/twokey.db", store)
    found = loaded(folder)
    assert found.store == "postgresql://u@db.example/twokey"
    assert found.state_dir == folder / "state"
    assert config.secret_variables(found.config) == {"CRM_RO_PASSWORD", "STORE_PASSWORD"}
    assert "store.password.env" in {problem.key for problem in refused_at_start(folder)}
    (folder / "secret.txt").chmod(0o600)
    # Gateways that run alone need none of the service's secrets, and a service alone none of theirs.
    check_run(found, dev=True, environ={"CRM_RO_PASSWORD": "x"}, service=False)
    check_run(found, dev=True, environ={"STORE_PASSWORD": "x"}, accounts=False)


@pytest.mark.parametrize(
    "store",
    [
        "{url: sqlite:///x.db, password: {env: X}}",
        "{url: postgresql://u@h/db, password: hunter2}",
        "{url: 'postgresql://u:hunter2@h/db'}",
        "{password: {env: X}}",
    ],
)
def test_faults_of_a_store(folder: Path, store: str) -> None:
    change(folder, "sqlite:///state/twokey.db", store)
    problem = only(folder)
    assert problem.key.startswith("store")
    assert problem.line == line_of(folder, "store:")
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{env: PATH}", "system's own"),
        ("{env: X, on_disk: true}", "`on_disk`"),
        ("{file: x, environment: [X]}", "`environment`"),
        ("{exec: [./x], environment: [X=hunter2]}", "values never"),
        ("{exec: [./x], environment: [{X: hunter2}]}", ""),
        ("{exec: [./x], file: y}", "not exactly one"),
        ("{on_disk: true}", "not exactly one"),
    ],
)
def test_faults_of_a_source(folder: Path, source: str, says: str) -> None:
    change(folder, "{env: CRM_RO_PASSWORD}", source)
    problem = only(folder)
    assert says in f"{problem.message}; {problem.fix}"
    assert problem.line == line_of(folder, "planner: {user")
    assert "hunter2" not in str(problem)


def test_a_variable_that_is_no_text(folder: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        check_run(loaded(folder), dev=True, environ={"CRM_RO_PASSWORD": "hunter2\udc80"})
    (problem,) = refused.value.problems
    assert problem.message == "the variable CRM_RO_PASSWORD is not UTF-8"
    assert problem.line == line_of(folder, "planner: {user")


def test_what_a_credential_s_source_needs_at_the_start(folder: Path) -> None:
    change(folder, "{env: CRM_RO_PASSWORD}", "{exec: [/bin/cat], environment: [VAULT_TOKEN]}")
    change(folder, "file: secret.txt, on_disk: true", "file: secret.txt")
    found = {problem.key: problem for problem in refused_at_start(folder)}
    helper = found["connections[0].credentials.planner.password.environment"]
    assert helper.message == "the variable VAULT_TOKEN is not set"
    file = found["connections[0].credentials.executor.password.file"]
    assert "lies on a disk" in file.message
    assert "/dev/shm" in file.fix
    assert file.line == line_of(folder, "executor: {user")


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:6432", "192.0.2.1:6432", "[::]:6432", "db.example.com:6432", "127.0.0.1.example.com:1"]
)
def test_listening_beyond_loopback_is_refused_without_tls(folder: Path, listen: str) -> None:
    change(folder, "store:", f'enforcers: {{postgres: {{listen: "{listen}"}}}}\nstore:')
    problem = only(folder)
    assert "without TLS" in problem.message
    assert problem.key == "enforcers.postgres.listen"


TLS = "tls: {certificate: gate.crt, key: {file: gate.key}}"


def test_listening_beyond_loopback_with_tls(folder: Path) -> None:
    change(folder, "store:", f'enforcers: {{postgres: {{listen: "0.0.0.0:6432", {TLS}}}}}\nstore:')
    postgres = loaded(folder).config.enforcers.postgres
    assert postgres.tls is not None
    assert postgres.tls.required
    problems = refused_at_start(folder)
    assert {problem.key for problem in problems} == {
        "enforcers.postgres.tls.certificate",
        "enforcers.postgres.tls.key.file",
    }


def test_tls_that_is_not_required_stays_on_loopback(folder: Path) -> None:
    for listen in ("0.0.0.0:6432", "127.0.0.1:6432"):
        text = f'enforcers: {{postgres: {{listen: "{listen}", {TLS[:-1]}, required: false}}}}}}\n'
        change(folder, "store:", text + "store:")
        if listen.startswith("0"):
            assert only(folder).key == "enforcers.postgres.listen"
            change(folder, text, "")
    assert loaded(folder).config.enforcers.postgres.listen == "127.0.0.1:6432"


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("balancers: [10.0.0.0/99]", "enforcers.postgres.balancers[0]"),
        ("balancers: [lb.example]", "enforcers.postgres.balancers[0]"),
        ("max_connections: 0", "enforcers.postgres.max_connections"),
        ("tls: {certificate: gate.crt}", "enforcers.postgres.tls.key"),
        ("tls: {certificate: gate.crt, key: hunter2}", "enforcers.postgres.tls.key"),
    ],
)
def test_faults_of_a_listener(folder: Path, given: str, key: str) -> None:
    change(folder, "store:", f"enforcers: {{postgres: {{{given}}}}}\nstore:")
    problem = only(folder)
    assert problem.key == key
    assert "hunter2" not in str(problem)


def test_the_masking_key_is_named_and_never_written_here(folder: Path) -> None:
    change(folder, "store:", "masking: {key: {env: MASKING_KEY}}\nstore:")
    assert variables(loaded(folder).config) == {"CRM_RO_PASSWORD", "MASKING_KEY"}
    assert "masking.key.env" in {problem.key for problem in refused_at_start(folder)}
    change(folder, "{env: MASKING_KEY}", "hunter2hunter2hunter2")
    assert only(folder).key == "masking.key"
    assert "hunter2" not in str(only(folder))


def test_a_certificate_needs_its_key_and_both_their_files(folder: Path) -> None:
    change(folder, "{env: CRM_RO_PASSWORD}", "{env: CRM_RO_PASSWORD}, certificate: ro.crt")
    assert "needs its key" in only(folder).fix
    change(folder, "certificate: ro.crt", "certificate: ro.crt, key: {env: CRM_RO_KEY}")
    assert variables(loaded(folder).config) == {"CRM_RO_PASSWORD", "CRM_RO_KEY"}
    keys = {problem.key for problem in refused_at_start(folder)}
    assert keys == {f"connections[0].credentials.planner.{key}" for key in ("certificate", "key.env")}


def test_root_certificates_must_be_there(folder: Path) -> None:
    change(folder, "5432/crm", "5432/crm?sslmode=verify-full&sslrootcert=ca.pem")
    (problem,) = refused_at_start(folder)
    assert problem.key == "connections[0].upstream"
    (folder / "ca.pem").write_text("x")
    assert refused_at_start(folder) == ()
    change(folder, "sslrootcert=ca.pem", "sslrootcert=system")
    assert refused_at_start(folder) == ()


def refused_at_start(folder: Path) -> Sequence[Problem]:
    try:
        check_run(loaded(folder), dev=True, environ={"CRM_RO_PASSWORD": "x"})
    except ConfigError as error:
        return error.problems
    return ()


@pytest.mark.parametrize("listen", ["127.0.0.1:6432", "localhost:0", "[::1]:6432", "127.9.9.9:1"])
def test_listening_on_loopback_is_fine(folder: Path, listen: str) -> None:
    change(folder, "store:", f'enforcers: {{postgres: {{listen: "{listen}", workers: 2}}}}\nstore:')
    assert loaded(folder).config.enforcers.postgres.listen == listen


@pytest.mark.parametrize("listen", ["6432", ":6432", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:x", "/run/x:1"])
def test_an_address_that_is_none_is_refused(folder: Path, listen: str) -> None:
    change(folder, "store:", f'decision: {{grpc: "{listen}"}}\nstore:')
    assert only(folder).key == "decision.grpc"


def test_two_connections_of_one_name_are_refused(folder: Path) -> None:
    text = (folder / "twokey.yaml").read_text()
    start, end = text.index("  - name: crm"), text.index("store:")
    (folder / "twokey.yaml").write_text(text[:end] + text[start:end] + text[end:])
    problem = only(folder)
    assert problem.key == "connections[1].name"
    assert f"line {line_of(folder, 'name: crm')}" in problem.message


def test_a_key_given_twice_is_refused(folder: Path) -> None:
    change(folder, "store:", "people: other.yaml\nstore:")
    problem = only(folder)
    assert 'duplicate key "people"' in problem.message
    assert problem.line == line_of(folder, "people: other.yaml")


def test_yaml_that_is_none_names_its_line(folder: Path) -> None:
    change(folder, "    kind: postgres", "   kind: postgres")
    problem = only(folder)
    assert "not YAML" in problem.message
    assert problem.line in {line_of(folder, "   kind: postgres"), line_of(folder, "name: crm")}


@pytest.mark.parametrize("text", ["", "[]", "just words", "- a\n- b"])
def test_what_is_no_mapping_is_refused(folder: Path, text: str) -> None:
    (folder / "twokey.yaml").write_text(text)
    assert refused(folder)


def test_a_key_of_a_later_issue_says_so(folder: Path) -> None:
    change(folder, "store:", "notify: []\nstore:")
    assert only(folder).message == "not built yet"


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "people.yaml").unlink()
    problem = only(folder)
    assert problem.file.endswith("people.yaml")
    assert problem.message == "no such file"


def test_no_configuration_at_all(tmp_path: Path) -> None:
    assert only(tmp_path).message == "no such file"


def test_a_policy_folder_that_is_missing(folder: Path) -> None:
    change(folder, "store:", "policy: {rego: policies/}\nstore:")
    assert only(folder).key == "policy.rego"


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ("owner: alice", "owner: alcie", "agents[0].owner", "no principal 'alcie'"),
        ("name: executor-7", "name: alice", "agents[0].name", "already one of the principals"),
        ('sub: "8f3"', "sub: agents/executor-7", "agents[0].identities[0]", "already 'alice'"),
        (
            'iss: "https://idp.example.com", sub: "8f3"',
            'iss: "urn:twokey:dev", sub: a',
            "principals[0].identities[0]",
            "dev",
        ),
        ("groups: [dba]", "group: [dba]", "principals[0].group", "unknown key"),
        ("name: alice", 'name: \'["iss","sub"]\'', "principals[0].name", "lower-case"),
        ("owner: alice", "", "agents[0].owner", "'owner' is missing"),
    ],
)
def test_people_are_checked_too(folder: Path, old: str, new: str, key: str, message: str) -> None:
    change(folder, old, new, "people.yaml")
    problem = next(found for found in refused(folder) if found.key == key)
    assert message in problem.message
    assert problem.file.endswith("people.yaml")


@pytest.mark.parametrize("text", ["customers.email: pii", "public.customers.email: [pii]", "- a", "public..email: pii"])
def test_a_classification_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "crm.classification.yaml").write_text(text)
    assert refused(folder)[0].file.endswith("crm.classification.yaml")


def test_starting_needs_every_secret_source(folder: Path) -> None:
    good = loaded(folder)
    check_run(good, dev=False, environ={"CRM_RO_PASSWORD": "x"})
    with pytest.raises(ConfigError, match="CRM_RO_PASSWORD is not set"):
        check_run(good, dev=False, environ={})
    (folder / "secret.txt").unlink()
    with pytest.raises(ConfigError, match="no such file"):
        check_run(good, dev=False, environ={"CRM_RO_PASSWORD": "x"})


def test_starting_without_an_issuer_needs_dev(folder: Path) -> None:
    text = (folder / "twokey.yaml").read_text()
    (folder / "twokey.yaml").write_text(text[text.index("people:") :])
    good = loaded(folder)
    check_run(good, dev=True, environ={"CRM_RO_PASSWORD": "x"})
    with pytest.raises(ConfigError, match="nobody could log in"):
        check_run(good, dev=False, environ={"CRM_RO_PASSWORD": "x"})


@pytest.mark.parametrize("host", ["db.internal", "10.0.0.5", "localhost.example.com", "127.0.0.1.nip.io", "0.0.0.0"])
def test_dev_is_refused_for_a_target_that_is_not_local(folder: Path, host: str) -> None:
    change(folder, "127.0.0.1:5432", f"{host}:5432")
    good = loaded(folder)
    check_run(good, dev=False, environ={"CRM_RO_PASSWORD": "x"})
    with pytest.raises(ConfigError, match="--dev is refused") as caught:
        check_run(good, dev=True, environ={"CRM_RO_PASSWORD": "x"})
    assert caught.value.problems[0].line == line_of(folder, host)


@given(st.text(max_size=200))
def test_no_text_makes_it_crash(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(ConfigError):
        config.load(path)


@pytest.mark.parametrize(
    ("given", "key", "message"),
    [
        ("{grpc: ['http://twokey.example.com']}", "decision.public.grpc[0]", "origin"),
        ("{grpc: ['https://twokey.example.com/']}", "decision.public.grpc[0]", "without a path"),
        ("{grpc: ['https://u:hunter2@twokey.example.com']}", "decision.public.grpc[0]", "origin"),
        ("{grpc: [twokey.example.com:7443]}", "decision.public.grpc[0]", "origin"),
        ("{grpc: ['https://twokey.example.com:99999']}", "decision.public.grpc[0]", "origin"),
        ("{http: ['http://twokey.example.com']}", "decision.public.http[0]", "in the clear"),
        ("{http: ['https://twokey.example.com?x']}", "decision.public.http[0]", "origin"),
        ("{http: ['https://twokey.example.com#']}", "decision.public.http[0]", "origin"),
        ("{https: ['https://x']}", "decision.public.https", "unknown key"),
    ],
)
def test_faults_of_a_public_origin(folder: Path, given: str, key: str, message: str) -> None:
    change(folder, "people: people.yaml", f"people: people.yaml\ndecision: {{public: {given}}}")
    (problem,) = refused(folder)
    assert (problem.key, message in problem.message) == (key, True), problem
    assert "hunter2" not in str(problem)


def test_an_ssh_connection_needs_no_account_and_the_authoritys_key_is_named(folder: Path) -> None:
    more = "  - {name: bastion, kind: ssh, environment: production, upstream: 'ssh://127.0.0.1:22'}\n"
    change(folder, "store: sqlite", f"{more}decision: {{ssh: {{key: {{file: ca}}}}}}\nstore: sqlite")
    loaded = config.load(folder / "twokey.yaml")
    assert [one.name for one in loaded.config.postgres] == ["crm"]
    environ = {"CRM_RO_PASSWORD": "x"}
    with pytest.raises(ConfigError, match=r"decision\.ssh\.key\.file"):
        check_run(loaded, dev=False, environ=environ)
    (folder / "ca").write_text("key")
    check_run(loaded, dev=False, environ=environ)
    change(folder, "{key: {file: ca}}", "{key: {env: SSH_CA}}")
    assert config.secret_variables(config.load(folder / "twokey.yaml").config) == {"CRM_RO_PASSWORD", "SSH_CA"}
    change(folder, "ssh://127.0.0.1:22", "ssh://root@127.0.0.1:22")
    assert refused(folder)[0].key == "connections[1].upstream"
