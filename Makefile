# The one place that names the steps. `make help` lists them.
#
#   BROKER=user|module   which broker `make demo` shows (default: user)
#   RUN='shell line'     what `make vm` runs in the VM
#   QUICK=1 PARTS=growth SYSTEMS='zeromq redis' ROUNDS=5 SIZES=64,1024 SUBS=1,4 SECONDS_A_RUN=1
#                        what `make bench` measures: a few minutes' worth; only nlbus beside its peers (peers), or
#                        how its cost grows (growth); whom besides nlbus (names or their beginnings); how often;
#                        payloads in bytes; numbers of subscribers; for how long
#   KDIR=path            the kernel tree that `make kmod` builds against: /lib/modules/$(uname -r)/build for
#                        the running kernel (default: Debian's 6.1 cloud kernel, fetched into the cache)
#   KERNELS='6.12.95+deb12 7.2' or all
#                        which kernels `make test-kernels` builds against (default: Debian's 6.1, and of each later
#                        series the newest of each of Debian's releases that has one)
#   FUZZ_SECONDS, FRAMES_SECONDS   how long `make fuzz` and `make test-debug` feed bytes and frames (default: 60)
#   TESTS='name...'      which tests `make test-nats` runs (default: all)
#   DEBIAN=trixie        which Debian `make test-package` installs the packages into (default: bookworm)
#   NLBUS_CACHE=path     where kernels, headers and QEMU are kept (default: ~/.cache/nlbus); may be deleted

BROKER ?= user
RUN ?=
KERNELS ?=
FUZZ_SECONDS ?= 60
FRAMES_SECONDS ?= 60
DEBIAN ?= bookworm
KDIR ?= $$(tests/vm/fetch linux)/kdir

.DEFAULT_GOAL := help
.PHONY: help package test-package deny msrv check-packaging man completions command-doc demo test test-debug test-debug-part test-kernels test-ynl test-nats vm bench-vm fuzz kmod lint bench bench-nats bench-docs clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 21
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile

demo: ## show publishers and subscribers at work on one bus, for ten seconds (BROKER=user or module)
	@scripts/need build demo
	@scripts/demo "$(BROKER)"

test: ## run all tests: natively, and on the module in a VM; the suite on both drivers
	@scripts/need build kmod vm programs nats
	cargo build --workspace --bins
	cargo test --workspace --no-run # with the network: below there may be none
	@tests/nats/fetch > /dev/null # the same
	NLBUS_SUITE_BROKER=user NLBUS_BIN=$(CURDIR)/target/debug/nlbus scripts/as-root cargo test --workspace
	NLBUS_SUITE_BROKER=user NLBUS_SUITE_DRIVER=direct scripts/as-root cargo test -p nlbus-tests --test suite
	tests/vm/selftest
	NLBUS_NOLOAD=1 tests/vm/run tests/vm/doctor:bin/doctor-remedies doctor-remedies
	tests/vm/run 'export NLBUS_SUITE_BROKER=module; \
		suite && NLBUS_SUITE_DRIVER=direct suite && examples && module && frames'
	tests/ynl/run

# value: as it was given; make would take $HOME in it for its own variable H.
# Without the flood: behind it an acknowledgement takes such a kernel seconds.
test-debug: ## test the module on a kernel that finds mistakes, count the lines reached, look for leaks (builds the kernel once)
	@scripts/need build kmod vm debug
	VM_TIMEOUT=$$((3600 + $(FRAMES_SECONDS))) tests/vm/coverage 'export NLBUS_SUITE_BROKER=module; \
		suite --skip nobody_floods && NLBUS_SUITE_DRIVER=direct suite --skip nobody_floods && module && \
		frames-for $(FRAMES_SECONDS)'
	VM_KERNEL=debug VM_MEMORY=2048 VM_APPEND=kmemleak=on VM_TIMEOUT=$$((3600 + $(FRAMES_SECONDS))) \
		tests/vm/run 'leaks && insmod /lib/nlbus/nlbus.ko && frames-for $(FRAMES_SECONDS)'

test-debug-part: ## the part of it that takes minutes, once the kernel is built
	@scripts/need build kmod vm debug
	NLBUS_REACHED=90 VM_TIMEOUT=2400 tests/vm/coverage 'export NLBUS_SUITE_BROKER=module; \
		suite --skip many:: --skip a_million --skip nobody_floods && module --skip twenty_times && frames-for 30'

test-kernels: ## build the module against Debian's kernels from 6.1 to the newest, test it on that, and with the suite on 6.12
	@scripts/need build kmod vm
	tests/vm/kernels $(KERNELS)
	VM_KERNEL=linux-newest VM_TIMEOUT=1800 tests/vm/run 'export NLBUS_SUITE_BROKER=module; suite && module && frames'
	VM_KERNEL=linux-newest tests/ynl/run
	VM_KERNEL=linux-6.12 VM_TIMEOUT=1800 tests/vm/run 'NLBUS_SUITE_BROKER=module suite'

test-ynl: ## the part of `make test` that has the kernel tree's own tool speak the protocol by the specs in kmod/ynl/
	@scripts/need build kmod vm
	tests/ynl/run

test-nats: ## the part of `make test` that has the bridge to NATS work with real servers; TESTS='name...' picks some
	@scripts/need build nats
	@tests/nats/fetch > /dev/null
	cargo build -p nlbus-subscribers --bins
	cargo test -p nlbus-tests --test nats --no-run
	NLBUS_BIN=$(CURDIR)/target/debug/nlbus scripts/as-root cargo test -p nlbus-tests --test nats -- $(TESTS)

vm: export VM_LINE = $(value RUN)
vm: ## boot a VM with the module loaded, run the shell line RUN in it, exit with its status
ifeq ($(value RUN),)
	@echo "usage: make vm RUN='shell line'" >&2; exit 2
else
	@$(exec tests/vm/run,$(value RUN))
	@tests/vm/run "$$VM_LINE" # a make without `load`: 2 whatever the status
ifneq ($(filter vm,$(MAKECMDGOALS)),)
target/make-exec.so: scripts/make-exec.c
	@mkdir -p target
	@gcc -O2 -Wall -Wextra -shared -fPIC -o $@ $<
-load target/make-exec.so(setup)
endif
endif

bench-vm: ## count the instructions that an event costs in the module, in a VM; fails if they grew by more than 5 %
	@scripts/need build kmod vm peer
	@tests/vm/count

fuzz: ## feed bytes to all that reads them from outside, FUZZ_SECONDS (60) each
	@scripts/need build fuzz
	@fuzz/run "$(FUZZ_SECONDS)"

PROGRAMS = $(notdir $(wildcard subscribers/src/bin/*))
BUILT = $(or $(CARGO_TARGET_DIR),target)/release
BUILT_DEBUG = $(or $(CARGO_TARGET_DIR),target)/debug

man: ## write the manual pages of all programs to target/man/
	@scripts/need build
	cargo build --release -p nlbus-subscribers --bins
	$(BUILT)/nlbus man --dir target/man
	for program in $(filter-out nlbus,$(PROGRAMS)); do \
		$(BUILT)/$$program --generate man > target/man/$$program.1 || exit; \
	done

completions: ## write what bash, zsh and fish complete arguments by to target/completions/
	@scripts/need build
	cargo build --release -p nlbus-subscribers --bins
	mkdir -p target/completions
	for shell in bash zsh fish; do \
		$(BUILT)/nlbus completions $$shell > target/completions/nlbus.$$shell || exit; \
		for program in $(filter-out nlbus,$(PROGRAMS)); do \
			$(BUILT)/$$program --generate $$shell > target/completions/$$program.$$shell || exit; \
		done; \
	done

command-doc: ## run the commands of docs/COMMAND.md, on the user broker and on the module in a VM, and write what they print into it
	@scripts/need build kmod vm demo
	cargo build -p nlbus-subscribers --bins
	scripts/command-doc $(BUILT_DEBUG)

kmod: ## build target/kmod/nlbus.ko
	@scripts/need kmod
	scripts/kmod "$(KDIR)" target/kmod

package: ## build the Debian packages nlbus and nlbus-dkms into target/package/
	@scripts/need build package
	scripts/package

test-package: package ## install them into a clean Debian, boot it in a VM, and look whether all is well there (as root)
	@scripts/need build vm test-package
	tests/package/run "$(DEBIAN)"

check-packaging: ## see that `cargo install` installs the programs, and that the library could be published
	@scripts/need build
	scripts/check-versions
	cargo install --quiet --locked --debug --path subscribers --root target/check/install
	target/check/install/bin/nlbus --version
	cargo publish --dry-run --locked --allow-dirty -p nlbus --target-dir target/check/publish

deny: ## check the licences and sources of all crates used, and the advisories on them where their database can be had
	@scripts/need build
	scripts/deny

msrv: ## build with the oldest Rust that Cargo.toml allows, as far as Debian has one
	@scripts/need build msrv
	scripts/msrv

lint: ## check formats, lints, docs, scripts, the module's style, and which part imports which
	@scripts/need build kmod lint
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo fmt --check --manifest-path benches/Cargo.toml
	cargo fmt --check --manifest-path tests/zeromq/Cargo.toml
	for package in benches fuzz tests/zeromq; do \
		cargo metadata --locked --format-version 1 --manifest-path $$package/Cargo.toml > /dev/null || exit; \
	done
	scripts/check-deps
	scripts/check-versions
	scripts/check-examples
	shellcheck $$(grep -rlE '^#!/bin/(ba)?sh' scripts tests/vm tests/ynl tests/nats tests/package benches packaging kmod fuzz/run .ci)
	tests/ynl/run --names
	scripts/lint-kmod
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps

bench: ## measure nlbus and its peers in one run, and how its cost grows, about half an hour: target/bench/results.json, *.svg (QUICK=1: minutes)
	@scripts/need bench
	benches/run

bench-nats: ## measure the bridge to NATS beside a plain client of it, in one run, ROUNDS (5) times, and print a table
	@scripts/need build nats
	@tests/nats/fetch > /dev/null
	cargo build --release -p nlbus-subscribers --bins
	cargo test --release -p nlbus-tests --test nats --no-run
	NLBUS_NATS_ROUNDS=$(or $(ROUNDS),5) NLBUS_BIN=$(abspath $(BUILT)/nlbus) scripts/as-root cargo test -q --release -p nlbus-tests --test nats

bench-docs: ## write the last run's figures into docs/BENCHMARKS.md, its plots into docs/bench/
	@benches/docs

clean: ## remove what was built (the cache stays)
	rm -rf target
