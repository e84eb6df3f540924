#!/bin/sh
# Makes the snapshot files of this folder with real servers, and prints the HashKV that they report.
# Usage: make.sh LABEL ETCD ETCDCTL
# For example: make.sh 3.4.23 /usr/bin/etcd /usr/bin/etcdctl
set -eu
label=$1 etcd=$2 etcdctl=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
client=127.0.0.1:23791 peer=127.0.0.1:23801
"$etcd" --name one --data-dir "$work/data" --log-level error --logger zap \
    --listen-client-urls "http://$client" --advertise-client-urls "http://$client" \
    --listen-peer-urls "http://$peer" --initial-advertise-peer-urls "http://$peer" \
    --initial-cluster "one=http://$peer" --initial-cluster-token golden > "$work/log" 2>&1 &
pid=$!
trap 'kill $pid 2>/dev/null; wait $pid 2>/dev/null || true; rm -rf "$work"' EXIT
ctl() { ETCDCTL_API=3 "$etcdctl" --endpoints "$client" "$@"; }
until ctl endpoint health > /dev/null 2>&1; do sleep 0.2; done
hash() {
    ctl endpoint hashkv --rev "$1" -w json \
        | sed 's/.*"hash":\([0-9]*\).*"compact_revision":\([-0-9]*\).*/\1 compact \2/'
}
save() {
    rm -f "$here/$1-$label.db"
    ctl snapshot save "$here/$1-$label.db" > /dev/null 2>&1
    chmod 644 "$here/$1-$label.db"
}

ctl put /a 1; ctl put /a 2; ctl put /b bee; ctl put /c sea; ctl del /b; ctl put /b bee2
printf '\nput /t1 x\nput /t2 y\nput /t3 z\n\n\n' | ctl txn
for key in /d1 /d2 /d3; do ctl put $key q; done
ctl del /d --prefix
sleep 1
save history
for rev in 2 3 4 5 6 7 8 9 10 11 12; do echo "history-$label $rev $(hash $rev)"; done

ctl compact 6
sleep 1
save compacted
for rev in 7 12; do echo "compacted-$label $rev $(hash $rev)"; done

lease=$(ctl lease grant 3600 | cut -d' ' -f2)
ctl put --lease="$lease" /leased value
ctl role add reader; ctl role grant-permission reader read /a /z
ctl user add root:secret; ctl user add guest:guest; ctl user grant-role guest reader
ctl user grant-role root root
i=0
while [ $i -lt 40 ]; do
    ctl put "/registry/pods/default/pod-$i" "$(printf '%0100d' $i)" > /dev/null
    i=$((i + 1))
done
sleep 1
save busy
for rev in 20 53; do echo "busy-$label $rev $(hash $rev)"; done
