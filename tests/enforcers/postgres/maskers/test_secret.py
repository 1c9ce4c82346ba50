"""The masking key: from a source, one per connection, or no start."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest

from enforcers.core.errors import SettingsError
from enforcers.postgres.maskers.secret import masking_keys
from enforcers.secret import Secret
from enforcers.settings import Address, Connection, EnvSource, ExecSource, FileSource, Run, Settings, Source

SECRET = "canary-0123456789-of-the-key"


def settings(source: Source | None) -> Settings:
    connections = {
        name: Connection(name=name, environment="x", upstream="postgresql://h/d", credentials=MappingProxyType({}))
        for name in ("a", "b")
    }
    run = Run(instance="e", dev=True, enforcer_secret="s" * 43, ca=b"")
    address = Address("127.0.0.1", 1)
    return Settings(
        run=run,
        decision=address,
        listen={},
        workers=1,
        connections=connections,
        tls=None,
        masking_key=source,
        variables={"TWOKEY_TEST_KEY": Secret(SECRET)},
    )


async def test_each_connection_has_a_key_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    keys = await masking_keys(settings(FileSource(str(path))))
    assert {len(key) for key in keys.values()} == {32}
    assert keys["a"] != keys["b"]
    assert keys == await masking_keys(settings(ExecSource(("/bin/cat", str(path)))))
    assert keys == await masking_keys(settings(EnvSource("TWOKEY_TEST_KEY")))
    assert await masking_keys(settings(None)) == {}


@pytest.mark.parametrize("content", [None, "", "short", "x" * 15])
async def test_a_key_that_can_not_be_had_stops_the_start(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
        path.chmod(0o600)
    with pytest.raises(SettingsError, match="mask") as refused:
        await masking_keys(settings(FileSource(str(path))))
    assert content in {None, ""} or content not in str(refused.value)
