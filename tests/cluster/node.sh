#!/usr/bin/env bash
# A compute node of the tests' cluster, as the first process of PID, mount and UTS namespaces of its own: its process numbers and
# its name are not those of the login node.
# $1: the cluster's folder, $2: the node's name
set -u
hostname "$2"
mount --bind "$1/hosts/$2" /etc/hosts
while :; do
  slurmd -D -N "$2" &
  wait $!
  sleep 5 # as a service manager restarts it
done
