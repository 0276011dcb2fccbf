# shellcheck shell=bash
# Sourced by every run.sh: sets PYTHON to an interpreter in which dcase_asd runs, making .venv in the checkout if need be.
#   1. DCASE_ASD_VENV, if set (created there if missing);  2. the active interpreter, if the packages are there;
#   3. .venv in the checkout, installed from constraints.txt. Nothing outside the checkout (or DCASE_ASD_VENV) is touched.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONPATH="${root}${PYTHONPATH:+:${PYTHONPATH}}"
venv="${DCASE_ASD_VENV:-${root}/.venv}"

usable() { # all packages are there, judged without importing the slow ones
  "$1" -c 'import importlib.util as u, sys
sys.exit(sys.version_info < (3, 11) or any(u.find_spec(m) is None for m in ("torch", "nflows", "pydantic", "click", "librosa")))' 2>/dev/null
}

new_environment() {
  local base=""
  for name in python3 python3.11 python3.12 python3.13 python; do
    if "${name}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then base="${name}"; break; fi
  done
  [ -n "${base}" ] || { echo "error: no Python 3.11 or newer found on PATH (tried python3, python3.11 to python3.13)" >&2; exit 1; }
  echo "setup: creating ${venv} with $("${base}" --version) (once: about 5 GB, a few minutes)"
  rm -f "${venv}/installed"
  "${base}" -m venv "${venv}"
  echo "setup: installing the packages that setup.cfg names in the versions of constraints.txt"
  # the package itself is used from the checkout through PYTHONPATH
  "${PYTHON}" "${root}/recipes/requirements.py" "${root}/setup.cfg" > "${venv}/requirements.txt"
  "${PYTHON}" -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    -c "${root}/constraints.txt" -r "${venv}/requirements.txt"
  echo "${want}" > "${venv}/installed"
  echo "setup: done"
}

want="$(cat "${root}/constraints.txt" "${root}/setup.cfg" "${root}/recipes/requirements.py" | cksum)"
if [ -z "${DCASE_ASD_VENV:-}" ] && [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && usable python3; then
  PYTHON="$(command -v python3)"
else
  PYTHON="${venv}/bin/python"
  if [ "$(cat "${venv}/installed" 2>/dev/null)" != "${want}" ] && ! { [ -n "${DCASE_ASD_VENV:-}" ] && usable "${PYTHON}"; }; then
    new_environment
  fi
fi
# caches of matplotlib and numba stay beside the environment
export PYTHON MPLCONFIGDIR="${venv}/cache/matplotlib" NUMBA_CACHE_DIR="${venv}/cache/numba"
