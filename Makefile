# `make` lists what there is. ARGS="..." is handed on to the program or the tests.

CARGO ?= cargo
BUILT := $(or $(CARGO_TARGET_DIR),target)
ARGS ?=
# The machine's own, named: only then are build scripts not linked statically as well.
HOST = $(shell $(CARGO) -vV | sed -n 's/^host: //p')
ON_UML = CARGO_TARGET_$(shell echo $(HOST) | tr a-z- A-Z_)_RUNNER=$(CURDIR)/scripts/uml.sh
ON_VM = CARGO_TARGET_$(shell echo $(HOST) | tr a-z- A-Z_)_RUNNER=$(CURDIR)/scripts/vm.sh
LAB_TESTS = $(filter-out fuzz sim model,$(notdir $(basename $(wildcard crates/lab/tests/*))))

.DEFAULT_GOAL := help
.PHONY: help setup release image demo test test-long devices sim sim-long model model-long lab real fuzz check bench bench-long bench-services bench-lb demo-services

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the machine lacks (as root), or say what to install
	@scripts/setup.sh

demo: setup ## three nodes, a client, API outages and deaths; report in target/demo/report.html
	$(CARGO) build --package mainstay
	$(BUILT)/debug/mainstay demo $(ARGS)

demo-services: setup ## the same with twelve Services, a node's death and an API outage; target/demo-services
	$(CARGO) build --package mainstay
	$(BUILT)/debug/mainstay demo services $(ARGS)

test: setup ## all tests, those in network namespaces included; under 10 minutes on 2 cores
	$(CARGO) test --workspace --no-fail-fast $(ARGS)

test-long: setup ## all tests, with 5 times as many seeds of the simulation, and faults that last for a minute
	MAINSTAY_LONG=1 MAINSTAY_SIM_SEEDS=$(or $(SEEDS),100000) $(CARGO) test --workspace --no-fail-fast $(ARGS)
	$(MAKE) devices

devices: setup ## a VIP on a bond, a VLAN and a bridge, and IPVS, on User-Mode Linux; balancing and filtering on Debian's kernel in QEMU
	$(ON_UML) $(CARGO) test --workspace --test devices -- --nocapture --test-threads 1 $(ARGS)
	$(ON_UML) $(CARGO) test --package mainstay-dataplane --test network -- --nocapture --test-threads 1 ipvs:: $(ARGS)
	$(ON_VM) $(CARGO) test --package mainstay-dataplane --test network -- --nocapture --test-threads 1 ipvs:: balancer:: filter:: $(ARGS)

sim: ## the simulation alone: SEED=7 traces one seed, SEEDS=50000 runs that many
	$(if $(SEED),MAINSTAY_SIM_SEED=$(SEED)) $(if $(SEEDS),MAINSTAY_SIM_SEEDS=$(SEEDS)) \
		$(CARGO) test --package mainstay-lab --test sim -- --nocapture $(ARGS)

sim-long: ## 10,000 simulated hours with 3 nodes, 200 with 50; HOURS, HOURS_OF_50; FIRST=n goes on at seed n
	MAINSTAY_SIM_HOURS=$(or $(HOURS),10000) MAINSTAY_SIM_HOURS_OF_50=$(or $(HOURS_OF_50),200) \
		$(if $(FIRST),MAINSTAY_SIM_FIRST=$(FIRST)) $(CARGO) test --package mainstay-lab --test sim \
		-- --nocapture --test-threads 1 long_runs $(ARGS)

model: ## the search of all interleavings of faults alone: ONLY=words picks plans, SCOPE=quick searches less
	$(if $(SCOPE),MAINSTAY_MODEL=$(SCOPE)) $(if $(ONLY),MAINSTAY_MODEL_ONLY="$(ONLY)") \
		$(CARGO) test --package mainstay-lab --test model -- --nocapture --test-threads 1 $(ARGS)

model-long: ## ten times as many states, once for a release: under an hour, under 16 GiB
	$(MAKE) model SCOPE=long

lab: setup ## the tests in network namespaces alone, with their output
	$(CARGO) test --package mainstay-dataplane --test '*' -- --nocapture $(ARGS)
	$(CARGO) test --package mainstay-lab $(addprefix --test ,$(LAB_TESTS)) -- --nocapture $(ARGS)

real: setup ## the tests on a real kube-apiserver and etcd: KUBEBUILDER_ASSETS=DIR names their directory
	@test -n "$$KUBEBUILDER_ASSETS" || { echo "real: set KUBEBUILDER_ASSETS to a directory with kube-apiserver and etcd" >&2; exit 1; }
	$(CARGO) test --package mainstay --test e2e --test control_plane --test local_health \
		--test bootstrap --test node_label -- --nocapture on_a_real_api_server $(ARGS)
	$(CARGO) test --package mainstay-lab --test apiserver -- --nocapture the_real_server $(ARGS)

fuzz: ## look for inputs that break a parser: TARGET=name, SECONDS=60 for each, KEEP=1 keeps what is new; needs cargo-fuzz
	scripts/fuzz.py --seconds $(or $(SECONDS),60) $(if $(KEEP),--keep) $(TARGET) $(ARGS)

release: setup ## the agent as it is shipped: target/release/mainstay
	$(CARGO) build --release --package mainstay --no-default-features

image: setup ## the agent as an OCI image for any container engine: target/image/mainstay.tar; ARGS=--name=registry/name:tag
	RUSTFLAGS="$(RUSTFLAGS) -C target-feature=+crt-static" \
		$(CARGO) build --release --target $(HOST) --package mainstay --no-default-features
	scripts/image.py $(BUILT)/$(HOST)/release/mainstay $(ARGS)

check: setup ## format, clippy with warnings denied, and the tree's own rules
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings
	$(CARGO) xtask tidy
	@if command -v python3 >/dev/null; then python3 scripts/mutants.py --check; \
		else echo "check: no python3: the mutants' texts were not looked for" >&2; fi

bench: release ## measure the promised figures; target/bench/foundation.json; under 25 minutes
	@scripts/setup.sh keepalived:keepalived
	$(CARGO) bench --profile dev --package mainstay-lab --bench foundation -- $(ARGS)

bench-long: ## the same with more runs of each figure
	$(MAKE) bench ARGS="--long $(ARGS)"

bench-lb: release ## the load balancer beside haproxy and the direct connection; target/bench/lb.json; under 5 minutes
	@scripts/setup.sh haproxy:haproxy
	$(CARGO) bench --profile dev --package mainstay-lab --bench balancer -- $(ARGS)

bench-services: release ## what Services cost and how fast they are there; target/bench/services.json; under 15 minutes
	$(CARGO) bench --profile dev --package mainstay-lab --bench services -- $(ARGS)
