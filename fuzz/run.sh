#!/bin/sh
# Runs one target under libFuzzer with a stable compiler, without cargo-fuzz and without a
# sanitizer: our code has no unsafe block that one could watch. Usage: run.sh TARGET [SECONDS]
set -eu
target=$1 seconds=${2:-60}
here=$(cd "$(dirname "$0")" && pwd)
case $target in
    archive | image | names) features=repository ;;
    endpoint) features=node ;;
    *) features= ;;
esac
host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR="$here/../target/fuzz"
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code" \
    cargo build --manifest-path "$here/Cargo.toml" --release --target "$host" \
    --features "$features" --bin "$target"
found="$CARGO_TARGET_DIR/found/$target"
mkdir -p "$found"
seeds="$here/corpus/$target"
case $target in bolt | scan) seeds="$seeds $here/../restore-engine/tests/data" ;; esac
# shellcheck disable=SC2086 # paths of ours
exec "$CARGO_TARGET_DIR/$host/release/$target" "$found" $seeds \
    -max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=1024 \
    -artifact_prefix="$found-"
