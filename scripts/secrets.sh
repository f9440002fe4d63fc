#!/usr/bin/env bash
# Looks for secrets in every text file of this folder that git does not ignore; those of the tests, which protect
# nothing, stand in .secrets.baseline. After adding such a one: scripts/secrets.sh --renew, and look at the difference.
set -euo pipefail
cd "$(dirname "$0")/.."

# Fingerprints are everywhere here, so hexadecimal noise is no sign; nothing is tried out on the network.
options=(--no-verify --disable-plugin HexHighEntropyString)
mapfile -d '' -t files < <(git grep -Ilz --untracked '' -- \
  ':!models' ':!tests/data' ':!benchmarks/line' ':!simvg_core/lineworld/assets' ':!.secrets.baseline')

if [ "${1:-}" = --renew ]; then
  .venv/bin/detect-secrets scan "${options[@]}" "${files[@]}" >.secrets.baseline.new
  mv .secrets.baseline.new .secrets.baseline
  exit
fi

# The program writes line numbers that have moved back into the baseline; a check leaves the tree as it is.
known=$(mktemp)
trap 'rm -f "$known"' EXIT
cp .secrets.baseline "$known"
status=0
said=$(.venv/bin/detect-secrets-hook "${options[@]}" --baseline "$known" "${files[@]}" 2>&1) || status=$?
case "$status" in
  0 | 3) echo "secrets: no new ones in ${#files[@]} files" ;;
  *)
    echo "$said" >&2
    echo "secrets: found; take them out, or see the head of scripts/secrets.sh" >&2
    exit 1
    ;;
esac
