#!/bin/sh
# Make a virtual environment and install into it: environment.sh FOLDER REQUIREMENT...
# Says in one line what is missing, where something is.
set -eu
folder=$1
shift
python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      python=$candidate
      break
    fi
  done
fi
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "error: Python 3.11 or newer is needed, and ${python:-python3} is not: install it, or say PYTHON=/path/to/python3.12 make ..." >&2
  exit 2
fi
if [ ! -x "$folder/bin/python" ] || ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
  rm -rf "$folder"
  if ! "$python" -m venv "$folder" >/dev/null 2>&1; then
    # Debian keeps the venv module in a package of its own.
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
      echo "installing Debian's $version-venv"
      (apt-get update -qq && apt-get install -y -qq "$version-venv") >/dev/null
      rm -rf "$folder"
      "$python" -m venv "$folder"
    else
      echo "error: $python cannot make virtual environments: run 'sudo apt-get install $version-venv' and try again" >&2
      exit 2
    fi
  fi
fi
echo "installing into $folder (the first time takes a minute or two)"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt "$@"
