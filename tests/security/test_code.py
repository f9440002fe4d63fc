"""What our own code must never do with what comes from outside, and the checks of secrets and dependencies."""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = [
    path
    for folder in ("infra", "producers", "consumers", "simvg_core", "scripts")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
] + [REPOSITORY / "simvg.py"]

UNPICKLE = {"pickle", "cPickle", "dill", "shelve", "marshal", "jsonpickle", "cloudpickle", "joblib"}
MAY_IMPORT_PICKLE = {
    "simvg_core/checkpoints.py",  # the name of an error that torch raises
    "simvg_core/training/sets/plain_pickle.py",  # an unpickler that knows no class and no function
}
UNPICKLING_CALLS = {f"{module}.{name}" for module in UNPICKLE for name in ("load", "loads", "Unpickler", "open")}
SHELL = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "commands.getoutput"}
EVALUATE = {"eval", "exec", "compile", "__import__"}
UNSAFE_YAML = {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def faults(source: str) -> Iterator[str]:
    """What of the forbidden the source does, with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            for module in modules:
                if module.partition(".")[0] in UNPICKLE:
                    yield f"{node.lineno}: imports {module}"
        if not isinstance(node, ast.Call):
            continue
        name, given = _name(node.func), {word.arg: word.value for word in node.keywords}
        if name in SHELL | EVALUATE | UNSAFE_YAML | UNPICKLING_CALLS:
            yield f"{node.lineno}: calls {name}"
        if "shell" in given and not (isinstance(given["shell"], ast.Constant) and given["shell"].value is False):
            yield f"{node.lineno}: {name} with a shell"
        if "allow_pickle" in given and not (
            isinstance(given["allow_pickle"], ast.Constant) and given["allow_pickle"].value is False
        ):
            yield f"{node.lineno}: {name} with allow_pickle"
        if name == "torch.load":
            only = given.get("weights_only")
            if not (isinstance(only, ast.Constant) and only.value is True):
                yield f"{node.lineno}: torch.load without weights_only=True"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_code_runs_what_comes_from_outside(path: Path) -> None:
    """No unpickling, no evaluation of text, no shell, no unsafe YAML; weights are loaded as weights only."""
    found = list(faults(path.read_text(encoding="utf-8")))
    if str(path.relative_to(REPOSITORY)) in MAY_IMPORT_PICKLE:
        found = [fault for fault in found if not fault.endswith(": imports pickle")]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from dill import loads",
        "pickle.loads(message)",
        "eval(text)",
        "exec(text)",
        "os.system(f'ls {name}')",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=flag)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
    ],
)
def test_each_of_the_forbidden_is_seen(source: str) -> None:
    """The check above finds what it looks for."""
    assert list(faults(source))


@pytest.mark.parametrize(
    "source", ["subprocess.run(words)", "torch.load(path, weights_only=True)", "model.eval()", "yaml.safe_load(text)"]
)
def test_what_is_fine_passes(source: str) -> None:
    """Lists of words, weights alone, a model's mode, safe YAML."""
    assert list(faults(source)) == []


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", REPOSITORY / "scripts/audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _report(*dependencies: dict[str, object]) -> str:
    return json.dumps({"dependencies": list(dependencies), "fixes": []})


GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("report", "status", "said"),
    [
        (_report(GOOD), 0, "none of 1 dependencies"),
        (_report(GOOD, BAD, SKIPPED), 1, "b 2: CVE-1; fixed in 3"),
        (_report(GOOD, SKIPPED), 3, "NOT DONE: 1 of 2 dependencies could not be looked up"),
        (_report(), 3, "NOT DONE"),
        ("", 3, "NOT DONE: connection refused"),
    ],
    ids=["clean", "vulnerable", "skipped", "empty", "unreachable"],
)
def test_audit_never_passes_in_silence(
    audit: ModuleType, capsys: pytest.CaptureFixture[str], report: str, status: int, said: str
) -> None:
    """What could not be looked up is not taken for well."""
    assert audit.judge(report, "trying\nconnection refused\n") == status
    shown = capsys.readouterr()
    assert said in shown.out + shown.err


def test_audit_offline_is_a_choice_and_said(
    audit: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """AUDIT=offline lets the rest go on, with a line that says what was not done."""
    monkeypatch.setenv("AUDIT", "offline")
    assert audit.judge("", "") == 0
    assert "NOT DONE" in capsys.readouterr().err
    assert audit.judge(_report(BAD), "") == 1, "what is vulnerable stays so"
