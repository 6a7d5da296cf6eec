#!/usr/bin/env bash
# The login node of the tests' cluster, as the first process of PID, mount and UTS namespaces of its own: with it ends all else.
# $1: the cluster's folder (slurm.conf and gres.conf in etc/, hosts/), else: its nodes' names
set -eu
folder=$1
shift
hostname login
mount --bind "$folder/etc" /etc/slurm # the only place where the Slurm commands of a job look, whatever SLURM_CONF says
mount --bind "$folder/hosts/login" /etc/hosts
munged --force --foreground --key-file "$folder/munge/key" --socket "$folder/munge/socket" --pid-file "$folder/munge/pid" \
  --seed-file "$folder/munge/seed" --log-file "$folder/munge/log" &
until munge --socket "$folder/munge/socket" --no-input > /dev/null 2>&1; do sleep 0.1; done
slurmctld -D &
for node in "$@"; do
  while :; do # a node that is lost is started again
    setsid unshare --pid --fork --kill-child --mount-proc --uts bash "$(dirname "$0")/node.sh" "$folder" "$node" || true
    sleep "${NODE_DOWN_S:-20}"
  done &
done
echo $$ > "$folder/started"
while :; do wait -n || sleep 1; done # the first process of a namespace inherits and reaps its orphans
