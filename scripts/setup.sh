#!/usr/bin/env bash
# Prepares this machine and this folder for one level of work: edge (the product without torch), run (the product),
# test, or check (everything). Every level can run the whole line here, cameras, broker and Redis included.
# Usage: scripts/setup.sh [edge|run|test|check]      Done once per level; afterwards it returns at once.
set -euo pipefail
cd "$(dirname "$0")/.."

level="${1:-run}"
case "$level" in
  edge) extras="[camera,edge,local]" ;;
  run) extras="[camera,edge,local,torch]" ;;
  test | check) extras="[camera,dev,edge,export,local,openvino,render,torch,train]" ;;
  *)
    echo "setup: '$level' is no level; use edge, run, test or check" >&2
    exit 2
    ;;
esac

# The programs of an environment name its folder: in a folder that was copied or moved they would run the code of the
# old place, or nothing.
here="$(realpath -m .venv)"
fingerprint="$({
  cat pyproject.toml constraints.txt scripts/setup.sh infra/kafka/pom.xml
  echo "$here"
} | sha256sum | cut -c1-16)"
done_already() {
  local stamp
  for stamp in "$@"; do
    [ -e ".venv/.setup-$stamp-$fingerprint" ] && [ -x .venv/bin/simvg ] && return 0
  done
  return 1
}
case "$level" in
  edge) done_already edge run test check && exit 0 ;;
  run) done_already run test check && exit 0 ;;
  test) done_already test check && exit 0 ;;
  check) done_already check && exit 0 ;;
esac
say() { printf '\033[1m%s\033[0m\n' "setup: $*" >&2; }

# --- packages of the system -------------------------------------------------------------------------------------
installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'; }
java_is_new_enough() {
  local version
  version="$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)" && [ "${version:-0}" -ge 17 ]
}

missing=()
need() { installed "$1" || missing+=("$1"); }
if ! java_is_new_enough 2>/dev/null; then
  java=openjdk-17-jre-headless # newer releases have no 17 any more; what they have by default is newer
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get -qq update # a fresh system does not know what there is
  fi
  apt-cache show "$java" >/dev/null 2>&1 || java=default-jre-headless
  missing+=("$java")
fi
command -v mvn >/dev/null || missing+=(maven)
if [ "$level" = test ] || [ "$level" = check ]; then
  # A real RTSP server for the tests (GStreamer's, run by the system's Python), and LLVM for the renderer.
  for package in python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
    gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav; do
    need "$package"
  done
  # Prometheus with promtool; and redis-tools for a Redis that speaks TLS (redis-server would start a service).
  command -v promtool >/dev/null || missing+=(prometheus)
  command -v redis-check-rdb >/dev/null || missing+=(redis-tools)
  ls /usr/lib/*/libLLVM*19* >/dev/null 2>&1 || missing+=(libllvm19)
fi
if [ "$level" = check ]; then
  command -v shellcheck >/dev/null || missing+=(shellcheck)
  command -v docker-compose >/dev/null || missing+=(docker-compose)
fi

python=""
for candidate in python3.11 python3.12 python3.13 python3; do
  if command -v "$candidate" >/dev/null &&
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python="$candidate"
    break
  fi
done
if [ -z "$python" ]; then
  missing+=(python3 python3-venv)
elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  missing+=("$(basename "$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')")-venv")
fi

if [ "${#missing[@]}" -gt 0 ]; then
  install="apt-get install -y --no-install-recommends ${missing[*]}"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # package names, one word each
    apt-get -qq update && $install -qq >/dev/null
  else
    say "these packages of the system are missing; install them and run this again:"
    echo "    sudo $install" >&2
    exit 1
  fi
fi
if [ -z "$python" ]; then
  python=python3
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    say "Python 3.11 or later is needed; this system brings $("$python" --version)"
    exit 1
  }
fi

# --- the Python environment -------------------------------------------------------------------------------------
if [ -e .venv/.place ] && [ "$(cat .venv/.place)" != "$here" ]; then
  say "this folder was copied or moved: its environment is that of $(cat .venv/.place), and is made anew"
  rm -rf .venv
fi
# Without uv it was interrupted, and may lack pip; to make it once more does no harm.
if [ ! -x .venv/bin/python ] || [ ! -x .venv/bin/uv ]; then
  say "creating .venv with $("$python" --version)"
  "$python" -m venv .venv
fi
echo "$here" >.venv/.place
if [ ! -x .venv/bin/uv ]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
fi
say "installing SimVG Line and its libraries into .venv (with PyTorch, where this level needs it, the first time takes some minutes)"
.venv/bin/uv pip install --quiet --python .venv/bin/python -c constraints.txt -e ".$extras"

# --- Apache Kafka -----------------------------------------------------------------------------------------------
say "resolving Apache Kafka"
.venv/bin/python -c 'from pathlib import Path; from infra.kafka_libs import kafka_libraries; kafka_libraries(Path(".cache"))'

rm -f ".venv/.setup-$level-"*
touch ".venv/.setup-$level-$fingerprint"
say "ready"
