"""Looks every pinned dependency up among known vulnerabilities; used by `make audit`.

Exit status: 0, all were looked up and none is vulnerable; 1, some are; 3, it could not be done, wholly or in part,
because the vulnerability service is out of reach. `pip-audit` alone ends well then: it skips what it cannot look up.
`AUDIT=offline` in the environment turns 3 into 0, and still says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def main() -> int:
    """Runs the audit and says what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = [
            "--no-deps",
            "--disable-pip",
            "--progress-spinner",
            "off",
            "--format",
            "json",
            "--output",
            str(report),
        ]
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", "--requirement", str(REPOSITORY / "constraints.txt"), *options],
            capture_output=True,
            text=True,
            check=False,
        )
        content = report.read_text(encoding="utf-8") if report.exists() else ""
    return judge(content, done.stderr)


def judge(report: str, said: str) -> int:
    """Exit status for the report of `pip-audit` (JSON; empty if it wrote none) and what it said besides."""
    if not report.strip():
        return _not_done(said.strip().splitlines()[-1] if said.strip() else "pip-audit wrote no report")
    dependencies = json.loads(report)["dependencies"]
    found = [one for one in dependencies if one.get("vulns")]
    for one in found:
        for fault in one["vulns"]:
            fixed = ", ".join(fault["fix_versions"]) or "no version yet"
            print(f"audit: {one['name']} {one['version']}: {fault['id']}; fixed in {fixed}")
    if found:
        return 1
    skipped = [one["name"] for one in dependencies if one.get("skip_reason")]
    if skipped or not dependencies:
        return _not_done(f"{len(skipped)} of {len(dependencies)} dependencies could not be looked up")
    print(f"audit: none of {len(dependencies)} dependencies has a known vulnerability")
    return 0


def _not_done(reason: str) -> int:
    offline = os.environ.get("AUDIT") == "offline"
    print(f"audit: NOT DONE: {reason}", file=sys.stderr)
    if offline:
        print("audit: accepted, because AUDIT=offline is set; run `make audit` where the network is", file=sys.stderr)
        return 0
    print("audit: run it where the vulnerability service is in reach, or set AUDIT=offline to go on", file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main())
