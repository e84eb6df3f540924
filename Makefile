# Thin on purpose: a recipe of more than a few lines lives in scripts/ or in a test.
export ETCD_BIN_DIR

help:
	@echo "make demo    save, destroy, restore and prove, on a real etcd, in a minute"
	@echo "make test    every test, on every etcd version that can be had here"
	@echo "make bench   speed and memory, side by side with the official tools"
	@echo "make lint    formatting and lints, as the gate runs them"
	@echo "make setup   only fetch what demo and test need"

demo: binary
	ETCD_BIN_DIR="$$(scripts/etcd-install)" "$$(scripts/built-binary)" demo

test: setup binary
	cargo test --workspace --no-run
	ETCDR_BIN="$$(scripts/built-binary)" cargo test --workspace

# `--workspace` and the feature select the same crate features as the tests do, so that demo and
# test share one build of the dependencies.
binary:
	cargo build --workspace --bin etcdr --features etcdr-tests/shared-build

bench:
	scripts/etcd-install >/dev/null
	scripts/bench

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --no-default-features --features etcdr-tests/shared-build --locked \
		-- -D warnings
	scripts/check-advisories

setup:
	scripts/etcd-versions

.PHONY: help demo test binary bench lint setup
