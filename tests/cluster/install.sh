#!/usr/bin/env bash
# What the cluster tests need beyond requirements.lock: Snakemake's executors into the environment on the PATH, pinned by the lock
# where it has a package, and Debian's Slurm, if this is root on Debian or Ubuntu. What is missing costs one line: its tests skip.
set -u
cd "$(dirname "$0")/../.."
if ! python -c 'import snakemake_executor_plugin_cluster_generic, snakemake_executor_plugin_slurm' 2> /dev/null; then
  python -m pip --disable-pip-version-check install --quiet --constraint requirements.lock \
    'snakemake-executor-plugin-slurm>=2.8,<3' 'snakemake-executor-plugin-cluster-generic>=1.0.9,<2' ||
    echo "note: Snakemake's executors could not be installed (no package index?); their tests are skipped" >&2
fi
export PATH="$PATH:/usr/sbin:/sbin"
if ! command -v slurmctld > /dev/null || ! command -v munged > /dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    echo "installing Debian's packages slurm-wlm and munge (their services are not started)"
    # a service that started would read a configuration that is not there
    [ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d && ours=yes; }
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurm-wlm munge; } \
      > /dev/null 2>&1 || echo "note: slurm-wlm and munge could not be installed by apt-get; the Slurm tests are skipped" >&2
    [ -z "${ours:-}" ] || rm -f /usr/sbin/policy-rc.d
  else
    echo "note: Slurm is missing; the Slurm tests are skipped (as root on Debian or Ubuntu: apt-get install slurm-wlm munge)" >&2
  fi
fi
