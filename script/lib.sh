# Sourced by the scripts of this directory. It sets up everything that they need and reports it.
# After `set_up`: the working directory is the repository, `$UV` runs uv, and .venv holds the locked packages.
# shellcheck shell=bash

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
TOOLS="$ROOT/.cache/tools"
UV=""
export UV_PYTHON_DOWNLOADS=never
# uv has its own certificates, but only the system knows a company's CA. (Older versions read the second variable.)
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
  export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}" UV_NATIVE_TLS="${UV_NATIVE_TLS:-true}"
fi

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "error: $*"
  exit 1
}

# Caches go below HOME. Without a writable one (a container, a service user) they go into the repository.
settle_home() {
  if [ -z "${HOME:-}" ] || ! [ -d "$HOME" ] || ! [ -w "$HOME" ]; then
    mkdir -p "$ROOT/.cache/home"
    export HOME="$ROOT/.cache/home"
  fi
}

find_python() {
  local name
  for name in python3 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  fail "no Python 3.11 or newer was found (on Debian 12 and later: apt-get install python3)"
}

# PATH may have a version manager's stub without an uv behind it: only a version number counts.
is_new_uv() {
  local version major minor
  version="$("$1" --version 2>/dev/null)" || return 1
  version="${version#uv }"
  major="${version%%.*}"
  minor="${version#*.}"
  minor="${minor%%.*}"
  [[ "$major" =~ ^[0-9]+$ && "$minor" =~ ^[0-9]+$ ]] || return 1
  ((major > 0 || minor >= 8))
}

find_uv() {
  local candidate
  for candidate in uv "$TOOLS/venv/bin/uv" "$TOOLS/site/bin/uv"; do
    if is_new_uv "$candidate"; then
      UV="$candidate"
      return 0
    fi
  done
  return 1
}

# Into a directory of this repository, never into the system's Python.
install_uv() {
  local python
  python="$(find_python)"
  mkdir -p "$TOOLS"
  say "uv: not found, installing it into .cache/tools"
  if ! "$python" -c 'import ensurepip' 2>/dev/null && ! "$python" -m pip --version >/dev/null 2>&1; then
    apt_install python3-venv || fail "$python has neither venv nor pip (on Debian: apt-get install python3-venv)"
  fi
  if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv "$TOOLS/venv"
    "$TOOLS/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
  else
    "$python" -m pip install --quiet --disable-pip-version-check --target "$TOOLS/site" 'uv>=0.8'
  fi
  find_uv || fail "uv was installed but does not run"
}

apt_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  local log="$ROOT/.cache/apt.log" quiet_services=""
  mkdir -p "$ROOT/.cache"
  say "Debian packages: installing $*"
  # A package with a service would start it at once, for instance a registry on port 5000.
  if ! [ -e /usr/sbin/policy-rc.d ]; then
    quiet_services=yes
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  local status=0
  run_apt "$@" >"$log" 2>&1 || status=$?
  if [ -n "$quiet_services" ]; then
    rm -f /usr/sbin/policy-rc.d
    trap - EXIT
  fi
  [ "$status" = 0 ] || say "Debian packages: installation failed; see .cache/apt.log"
  return "$status"
}

run_apt() {
  export DEBIAN_FRONTEND=noninteractive
  timeout 120 apt-get update -qq || true # An old package list is often good enough.
  timeout 300 apt-get install -y -qq --no-install-recommends "$@"
}

# Whether the Debian package $1 is installed. Debian keeps the programs of some servers out of PATH.
has_program() {
  case "$1" in
    postgresql) command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null ;;
    rabbitmq-server) command -v rabbitmq-server >/dev/null || [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] ;;
    bubblewrap) command -v bwrap >/dev/null ;;
    libfaketime) compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null ;;
    *) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] ;;
  esac
}

# Programs for the tests with real servers. Without a program its tests are skipped by name, so this never fails.
find_programs() {
  local program missing=()
  for program in docker-registry skopeo postgresql rabbitmq-server nats-server redis-server libfaketime chromium bubblewrap; do
    has_program "$program" || missing+=("$program")
  done
  [ "${#missing[@]}" = 0 ] && return
  # A package that the distribution lacks must not prevent the others.
  apt_install "${missing[@]}" || for program in "${missing[@]}"; do apt_install "$program" || true; done
  for program in "${missing[@]}"; do
    has_program "$program" || say "not available: $program (its tests are skipped; on Debian: apt-get install $program)"
  done
}

set_up() {
  cd "$ROOT"
  settle_home
  find_uv || install_uv
  say "Python packages: installing into .venv from uv.lock"
  # The tools are scripts beside each other, and share their servers with the tests.
  export PYTHONPATH="$ROOT/tests:$ROOT/tools"
  "$UV" sync --frozen --quiet || fail "the Python packages could not be installed: check the network, and that Python is 3.11 or newer"
}
