# shellcheck shell=bash
# Sourced by every run.sh: sets PYTHON to an interpreter in which dcase_asd runs, making .venv in the checkout if need be.
#   1. DCASE_ASD_VENV, if set (created there if missing);  2. the active interpreter, if dcase_asd and torch import there;
#   3. .venv in the checkout, installed from constraints.txt. Nothing outside the checkout (or DCASE_ASD_VENV) is touched.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONPATH="${root}${PYTHONPATH:+:${PYTHONPATH}}"
venv="${DCASE_ASD_VENV:-${root}/.venv}"
# caches of pip, matplotlib and numba stay beside the environment
export PIP_CACHE_DIR="${venv}/cache/pip" MPLCONFIGDIR="${venv}/cache/matplotlib" NUMBA_CACHE_DIR="${venv}/cache/numba"

usable() { "$1" -c 'import importlib.util as u, sys; sys.exit(any(u.find_spec(m) is None for m in ("torch", "nflows", "pydantic")))' 2>/dev/null; }

if [ -z "${DCASE_ASD_VENV:-}" ] && [ -n "${PYTHON:-}" ] && usable "${PYTHON}"; then
  :
elif [ -z "${DCASE_ASD_VENV:-}" ] && [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && usable python3; then
  PYTHON=python3
else
  PYTHON="${venv}/bin/python"
  want="$(cat "${root}/constraints.txt" "${root}/setup.cfg" | cksum)"
  if [ ! -x "${PYTHON}" ] || [ "$(cat "${venv}/installed" 2>/dev/null)" != "${want}" ]; then
    base="$(command -v python3.12 || command -v python3.11 || command -v python3)"
    "${base}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
      { echo "error: Python 3.11 or newer is needed, ${base} is $("${base}" --version 2>&1)" >&2; exit 1; }
    echo "setup: creating ${venv} with $("${base}" --version) (once, about 5 GB and a few minutes)"
    rm -f "${venv}/installed"
    "${base}" -m venv "${venv}"
    mkdir -p "${PIP_CACHE_DIR}" "${MPLCONFIGDIR}" "${NUMBA_CACHE_DIR}"
    echo "setup: installing the packages of constraints.txt"
    # metadata and dependencies come from setup.cfg; the package itself is used from the checkout through PYTHONPATH
    "${PYTHON}" "${root}/recipes/requirements.py" "${root}/setup.cfg" > "${venv}/requirements.txt"
    "${PYTHON}" -m pip install --quiet --no-cache-dir --disable-pip-version-check \
      -c "${root}/constraints.txt" -r "${venv}/requirements.txt"
    echo "${want}" > "${venv}/installed"
    echo "setup: done"
  fi
fi
export PYTHON
