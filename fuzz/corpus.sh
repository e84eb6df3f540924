#!/bin/sh
# Makes the parts of the corpus that no test makes: texts, and pieces of files of a real etcd.
# Usage: corpus.sh LABEL ETCD ETCDCTL
# For example: corpus.sh 3.5.30 /usr/bin/etcd /usr/bin/etcdctl
set -eu
label=$1 etcd=$2 etcdctl=$3
corpus=$(cd "$(dirname "$0")" && pwd)/corpus
work=$(mktemp -d)
trap 'kill ${pid:-} 2>/dev/null || true; rm -rf "$work"' EXIT

# text TARGET NAME TEXT
text() { mkdir -p "$corpus/$1"; printf '%s' "$3" > "$corpus/$1/$2"; }
text initial_cluster one 'm0=http://127.0.0.1:2380'
text initial_cluster three 'a=https://10.0.0.1:2380,b=https://10.0.0.2:2380,c=https://[::1]:2380'
text initial_cluster two-urls 'a=http://h:1,a=unix:///run/a.sock,b=http://h:3'
text initial_cluster urls 'http://10.0.0.1:2380,https://etcd-0.etcd:2380'
text endpoint plain '127.0.0.1:2379'
text endpoint https 'https://etcd-0.etcd.kube-system.svc:2379'
text endpoint six 'https://[2001:db8::1]:2379'
text endpoint socket 'unix:///run/etcd.sock'
text endpoint user 'http://root:a-long-password@host:2379'
text names latest 'latest~12'
text names id '20261122T070000Z-r00000000000000012345-1a2b3c4d'
text names time '@2026-11-22T07:30:00Z'
text names revision '@r12345'
text names manifest 'default/manifests/20261122T070000Z-r00000000000000012345-1a2b3c4d.json'
text names image 'default/images/20261122T070000Z-r00000000000000012345-1a2b3c4d.db.zst.age'
text names s3 's3://bucket/some/prefix'
text names file 'file:///var/backups/etcd'
text names recipient 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p'
text contracts id '20261122T070000Z-r00000000000000012345-1a2b3c4d'
text contracts version 'v3.5.30-rc.1'
text contracts member 'be1b32b7b1ce69d'
text contracts repository '{"format":1,"repository_id":"0123456789abcdef0123456789abcdef","created_at":"2026-11-22T07:00:00Z","recipients":["age1x"]}'
text contracts manifest '{"format":1,"kind":"full","id":"20261122T070000Z-r00000000000000012345-1a2b3c4d","cluster":"default","cluster_id":"29f4f851847d2427","members":[{"id":"c8d9246ced7969c0","name":"m0","peer_urls":["http://a:2380"],"client_urls":["http://a:2379"],"learner":false}],"source":{"member_id":"c8d9246ced7969c0","endpoint":"http://a:2379","server_version":"3.5.30"},"revision":12345,"compact_revision":12000,"raft_term":3,"raft_index":20000,"db_size":20480,"db_size_in_use":16384,"started_at":"2026-11-22T07:00:00Z","finished_at":"2026-11-22T07:00:05Z","image":{"key":"default/images/20261122T070000Z-r00000000000000012345-1a2b3c4d.db.zst.age","plain_size":20512,"plain_sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","stored_size":9000,"stored_sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","codec":{"compression":{"algorithm":"zstd","level":3,"frame_size":4194304},"encryption":{"algorithm":"age","recipients":["age1x"]}}},"hash_kv":{"revision":12345,"compact_revision":12000,"hash":2428280166,"agreed":["c8d9246ced7969c0"]},"alarms":[{"member_id":"c8d9246ced7969c0","kind":"NOSPACE"}],"tool_version":"0.1.0","later":{"kept":true}}'
text rows member '{"id":14472638927791024576,"peerURLs":["http://127.0.0.1:23201"],"name":"default","isLearner":true,"clientURLs":["http://127.0.0.1:2379"]}'

# Archives of a small text, with the usual tools where they are installed.
mkdir -p "$corpus/archive"
yes 'k8s /registry/pods/default/web-1' | head -c 3000 > "$work/snapshot.db"
gzip -9nc "$work/snapshot.db" > "$corpus/archive/text.gz"
zstd -q9c --no-progress "$work/snapshot.db" > "$corpus/archive/text.zst"
tar -C "$work" --owner=0 --group=0 --mtime=@0 -cf "$corpus/archive/text.tar" snapshot.db
gzip -9nc "$corpus/archive/text.tar" > "$corpus/archive/text.tar.gz"
if command -v zip >/dev/null; then
    (cd "$work" && rm -f x.zip && zip -qX x.zip snapshot.db && cp x.zip "$corpus/archive/text.zip")
fi
cp "$work/snapshot.db" "$corpus/archive/text"

# A member's log and raft snapshot.
client=127.0.0.1:23793 peer=127.0.0.1:23803
"$etcd" --name one --data-dir "$work/data" --log-level error --snapshot-count 10 \
    --listen-client-urls "http://$client" --advertise-client-urls "http://$client" \
    --listen-peer-urls "http://$peer" --initial-advertise-peer-urls "http://$peer" \
    --initial-cluster "one=http://$peer" > "$work/log" 2>&1 &
pid=$!
ctl() { ETCDCTL_API=3 "$etcdctl" --endpoints "$client" "$@"; }
until ctl endpoint health > /dev/null 2>&1; do sleep 0.2; done
i=0
while [ $i -lt 20 ]; do ctl put "/k/$i" "value $i" > /dev/null; i=$((i + 1)); done
lease=$(ctl lease grant 3600 | cut -d' ' -f2)
ctl put --lease="$lease" /leased value > /dev/null
ctl del /k/1 > /dev/null
sleep 1
kill "$pid"
wait "$pid" || true
mkdir -p "$corpus/wal" "$corpus/snap"
head -c 8192 "$work/data/member/wal/0000000000000000-0000000000000000.wal" \
    > "$corpus/wal/real-$label"
cp "$(ls "$work"/data/member/snap/*.snap | tail -n 1)" "$corpus/snap/real-$label"
chmod 644 "$corpus"/*/*
