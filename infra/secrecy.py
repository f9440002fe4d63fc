"""How secrets come in: from the environment, or from files that the environment names, never from the command line nor
from a settings file.

Every process of a machine can read every other's command line. A variable that may hold a secret, ``SIMVG_X``, can
therefore also be given as ``SIMVG_X_FILE``: the path of a file whose content is the value, as container platforms mount
secrets. A settings file is copied, mailed and committed with all that is in it, so none may stand there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from infra.errors import SettingsError
from infra.redaction import hide_user, redact

FILE_ENDING = "_FILE"
# The host, perhaps a port, and the path of an address that names no user; a ':' in the path may be that of a password.
_PLAIN_ADDRESS = re.compile(
    r"(?:unix://|[A-Za-z][A-Za-z0-9+.\-]*://(?:[^\s:/@?#\[\]]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?)/[^\s:?#]*"
)
# Cameras have switches of these names, which say how to log in and not as whom.
_SWITCH = re.compile(r"(?<=[?&;])(?:auth|key)=(?:[01]|no|off|none|false|yes|on|true|basic|digest)(?=[&;]|$)", re.I)
_COUNTED = (
    "what precedes an '@' counts as such unless the whole is a file that is there, and so does the value of a "
    "parameter such as 'token='"
)
_MAX_BYTES = 64_000  # a token or a key; whatever is longer is the wrong file


def read_secret_files(variables: Mapping[str, str]) -> dict[str, str]:
    """Values of the settings whose ``SIMVG_X_FILE`` is set. ``variables``: name of the setting → ``SIMVG_X``.

    Raises:
        SettingsError: a file that cannot be read, is empty or too long; or the variable itself is set as well.
    """
    present = {name.upper(): name for name in os.environ}
    found = {}
    for setting, variable in variables.items():
        name = present.get(f"{variable}{FILE_ENDING}")
        if name is None:
            continue
        if variable in present:
            raise SettingsError(f"both {variable} and {name} are set; unset one of them")
        found[setting] = _content(name, Path(os.environ[name]))
    return found


def _content(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise SettingsError(f"the file {path} that {variable} names cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"the file {path} that {variable} names is no UTF-8 text; write the value alone") from error
    if len(content) > _MAX_BYTES:
        raise SettingsError(f"the file {path} that {variable} names is over {_MAX_BYTES} bytes; write the value alone")
    # Editors end a file with a newline; it is no part of the value.
    value = text.rstrip("\r\n")
    if not value:
        raise SettingsError(f"the file {path} that {variable} names is empty; write the value into it")
    return value


def refuse_credentials(flags: Mapping[str, object], variables: Mapping[str, str]) -> None:
    """Raises SettingsError for a flag that carries a secret. ``variables``: setting → ``SIMVG_X`` that takes it.

    An address without credentials is no secret, though the same setting may hold one with them.
    """
    for setting, value in flags.items():
        variable = variables.get(setting)
        if variable is None or not isinstance(value, str) or not _holds_credentials(value):
            continue
        raise SettingsError(
            f"{setting} = {redact(hide_user(value))}: credentials on the command line can be read by everyone on this "
            f"machine ({_COUNTED}); {_remedy(variable)}"
        )


def refuse_written_secrets(
    path: Path, values: Mapping[str, object], variables: Mapping[str, str], addresses: Container[str]
) -> None:
    """Raises SettingsError for a secret in the settings file ``path``. ``values``: what it holds, by dotted name;
    ``variables``: setting → ``SIMVG_X`` that takes it; ``addresses``: those of them that are secret only with
    credentials in them."""
    for setting, variable in variables.items():
        value = values.get(setting)
        if value is None or (setting in addresses and not (isinstance(value, str) and _holds_credentials(value))):
            continue
        what = "its credentials" if setting in addresses else "secrets"
        counted = f" ({_COUNTED})" if setting in addresses else ""
        raise SettingsError(
            f"settings file {path} holds {setting}: {what} do not belong in there{counted}; remove it, and "
            f"{_remedy(variable)}"
        )


def _holds_credentials(value: str) -> bool:
    """Whether any part of an address is to be hidden, other than an ``@`` in the path of a plain one, and a switch.

    Logs hide these two as well: there, to hide too much is no harm.
    """
    value = _SWITCH.sub("", value)
    if plain := _PLAIN_ADDRESS.match(value):
        value = plain[0].replace("@", "") + value[plain.end() :]
    return redact(hide_user(value)) != value


def _remedy(variable: str) -> str:
    return f"give it as {variable}, or as a file named by {variable}{FILE_ENDING}"


def refuse_secret_options(arguments: Iterable[str], variables: Mapping[str, str]) -> None:
    """Raises SettingsError for an option such as ``--sasl-password``: there is none, on purpose.

    ``variables``: settings that are nothing but a secret → ``SIMVG_X`` that takes it.
    """
    options = {}
    for setting, variable in variables.items():
        words = setting.replace("_", "-").replace(".", "-")
        options[f"--{words}"] = options[f"--{words.partition('-')[2]}"] = variable
    for argument in arguments:
        if argument == "--":
            return
        option = argument.partition("=")[0].lower().replace("_", "-")
        if option in options:
            variable = options[option]
            raise SettingsError(
                f"there is no option {option}: secrets on the command line can be read by everyone on this machine; "
                f"{_remedy(variable)}"
            )
