# Every verb of this project. `make help` lists them.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
KERNEL  ?= 6.12
KERNELS ?= $(if $(filter arm64,$(ARCH)),6.12,6.1 6.12)
FUZZ    ?= 20000x
SEED    ?= 1
SEEDS   ?= 1 2 3
ROUNDS  ?= 200
REPORT  ?= faults.json

# The version before this one, or any other commit.
PREVIOUS ?= 86a964a

BUILD   := build

# ARCH=arm64: the programs for it, and a guest of the lab that has it.
PROGRAMS := $(BUILD)$(if $(filter-out amd64,$(ARCH)),/$(ARCH))
export LAB_ARCH := $(ARCH)

PLUGIN  := $(PROGRAMS)/multibond
AGENT   := $(PROGRAMS)/multibond-agent
IMAGE   ?= ghcr.io/multibond/multibond-agent:unreleased

# A static sriov-cni that takes the place of the lab's own wherever the lab is booted.
override SRIOV := $(abspath $(SRIOV))
export SRIOV

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The same flags everywhere, so that packages are compiled once for all. Debug
# information, which the linker drops anyway, is a fifth of a compiler's work.
export CGO_ENABLED = 0
export GOFLAGS := $(sort $(shell $(GO) env GOFLAGS) -trimpath -gcflags=all=-dwarf=false)

# Which kernels the lab has, and is tested on.
export KERNELS

.PHONY: help build programs plugin tool image release release-check demo demo-node failover bench faults test soak unit conformance kernel upgrade life fuzz e2e monitoring admission chart helm lint lab lab-setup cluster cluster-setup clean

help: ## list these verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: programs tool ## the plugin, the agent, the operator's tool: build/multibond, multibond-agent, kubectl-multibond

# What runs on nodes. Nothing but build waits for the tool.
programs:
	@GOARCH=$(ARCH) tests/compile.sh 'multibond $(VERSION)' $(PROGRAMS) '-X main.releaseVersion=$(VERSION)' ./cmd/multibond ./cmd/multibond-agent

plugin:
	@GOARCH=$(ARCH) tests/compile.sh 'the plugin' $(PROGRAMS) '-X main.releaseVersion=$(VERSION)' ./cmd/multibond

# kubectl finds its plugins by these names.
tool:
	@tests/compile.sh 'kubectl multibond' $(BUILD) '-X main.releaseVersion=$(VERSION)' ./cmd/multibondctl
	@mv $(BUILD)/multibondctl $(BUILD)/kubectl-multibond
	@cp cmd/multibondctl/kubectl_complete-multibond $(BUILD)/

image: programs ## the agent's image, without a container engine: build/image.tar
	$(GO) run ./deploy/image -o $(BUILD)/image.tar -name $(IMAGE) -entrypoint /multibond-agent \
		-file /multibond-agent=$(AGENT) -file /multibond=$(PLUGIN)

release: ## all that a release consists of, for VERSION=v0.3.0 (DIRTY=1: a trial): build/release
	$(GO) run ./deploy/release -version '$(VERSION)' -o $(BUILD)/release $(if $(DIRTY),-dirty)

release-check: ## the release of the last commit made twice, in two directories, and compared
	$(GO) run ./deploy/release -check

demo: plugin lab-setup ## a bond's failover on a node; then, once it is built, on a cluster: build/report/demo-node.json, demo.json, demo.svg
	$(GO) run ./tests/demo -cluster -kernel $(KERNEL) -plugin $(PLUGIN)

demo-node: plugin lab-setup ## without Kubernetes: two bonds over real VFs, two failovers: build/report/demo-node.json
	$(GO) run ./tests/demo -kernel $(KERNEL) -plugin $(PLUGIN)

failover: programs lab-setup ## what each fault costs in each mode, without keep and with it, by traffic: build/report/failover.json, .svg
	$(GO) run ./tests/demo -failover -kernel $(KERNEL) -plugin $(PLUGIN) -report $(BUILD)/report/failover.json

bench: cluster-setup ## Multibond beside Multus (with BONDCNI=, SRIOV=), its delegates alone, another version (OTHER=), as root: build/report/bench.json
	$(GO) run ./tests/bench -bond-cni '$(BONDCNI)' -sriov '$(SRIOV)' -other '$(OTHER)'

faults: programs lab-setup ## a campaign of random faults, ROUNDS of it by SEED: build/report/REPORT
	$(GO) run ./tests/faults -kernel $(KERNEL) -plugin $(PLUGIN) -seed $(SEED) -rounds $(ROUNDS) -report $(BUILD)/report/$(REPORT)

# What fits into half an hour. The rest is soak.
test: programs lab-setup cluster-setup ## unit tests, alert rules, admission policies, the chart and conformance here, kernel tests in the lab on each of KERNELS, a campaign, end-to-end tests
	@tests/parts.sh unit monitoring admission chart conformance kernel 'faults ROUNDS=60' e2e

soak: programs lab-setup ## what takes hours: the release twice, TestLife three moves deep, fuzzing, campaigns of SEEDS, each of ROUNDS
	@tests/parts.sh unit monitoring admission chart conformance release-check life fuzz kernel upgrade $(foreach s,$(SEEDS),'faults SEED=$s REPORT=faults-$s.json') e2e 'e2e NODES=2' 'kernel ARCH=arm64 KERNELS=6.12'

unit: ## the unit tests, without the lab
	$(GO) test ./bond/... ./delegate/... ./kubeclient/... ./cmd/... ./deploy/... ./tests/rules/... ./tests/demo/... ./tests/bench/...

# Prometheus is in a module of its own, which nothing of Multibond depends on.
monitoring: ## the alert rules and the dashboard, by Prometheus' own parser and engine
	cd tests/monitoring && $(GO) vet ./... && $(GO) test ./...

# The API server is in a module of its own, too, with the versions of the test cluster's programs.
admission: ## the admission policies, by the API server's own code
	cd tests/admission && $(GO) vet ./... && $(GO) test ./...

# Helm is in a module of its own, too.
chart: ## the Helm chart, by Helm's own code, compared with the kustomization
	cd tests/chart && $(GO) vet ./... && $(GO) test ./...

helm: ## Helm, for the end-to-end tests: build/helm/helm
	@cd tests/chart && ../compile.sh Helm $(abspath $(BUILD))/helm '' helm.sh/helm/v4/cmd/helm

# Multus is pinned where the cluster's programs are, so that it is compiled once for all.
conformance: programs ## networks that are not bonds, on Multibond and on Multus: build/report/conformance.json
	@cd tests/cluster/programs/multus && ../../../compile.sh Multus $(abspath $(BUILD))/conformance '' gopkg.in/k8snetworkplumbingwg/multus-cni.v4/cmd/multus
	@tests/compile.sh 'the recorder' $(BUILD)/conformance '' ./tests/conformance/recorder
	$(GO) test -count=1 ./tests/conformance $(if $(RECORD),-record)

kernel: programs lab-setup ## the kernel tests, in the lab on each of KERNELS
	$(GO) test -v -count=1 -p 1 -timeout 60m ./tests/lab/... ./tests/kernel/...

upgrade: plugin lab-setup ## upgrade from PREVIOUS and rollback to it with pods that are attached, in the lab
	PREVIOUS=$(PREVIOUS) $(GO) test -v -count=1 -timeout 60m ./tests/upgrade

life: ## three moves of ADD, DEL, GC and keep, with every crash of each step
	$(GO) test -timeout 90m -count=1 -run '^TestLife$$' ./delegate -life 3

# The first target of kubeclient takes minutes: Kubernetes' packages are built once more, instrumented.
fuzz: ## every fuzz target, with FUZZ inputs each
	@set -e; for file in $$(grep -rlE --include='*_test.go' '^func Fuzz' bond delegate kubeclient | sort); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$file); do \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ) -fuzzminimizetime 100x ./$$(dirname $$file); done; done

e2e: image cluster-setup helm ## end-to-end tests in a real cluster: build/report/e2e.json, doctor.json (NODES=2: that of two nodes)
	$(GO) test -v -count=1 -timeout 50m $(if $(NODES),-run,-skip) '^TestTwoNodes$$' ./tests/e2e $(if $(NODES),-nodes $(NODES))

# The rules depend on all packages, of which Go's test cache does not know. What speaks with
# the kernel is vetted for arm64, too, and what is not for Linux only for Windows, which has
# less in common with it than macOS.
lint: ## gofmt, vet (also for arm64 and Windows), staticcheck, the rules about imports
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags lab ./...
	GOARCH=arm64 $(GO) vet ./bond/... ./delegate/... ./cmd/multibond/...
	GOOS=windows $(GO) vet ./cmd/multibondctl/...
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) -tags lab ./...
	$(GO) test -count=1 ./tests/rules/...

lab: programs lab-setup ## a shell in the lab: two PFs with VFs, the plugin in /opt/cni/bin
	$(GO) run ./tests/lab/cmd/lab shell -kernel $(KERNEL) -files bin/multibond=$(PLUGIN)

cluster: image cluster-setup ## a Kubernetes cluster with real VFs, until interrupted
	$(GO) run ./tests/cluster/cmd/cluster

cluster-setup: ## what the cluster needs, once: Kubernetes, etcd, containerd, all from modules
	@tests/cluster/setup.sh

lab-setup: ## what the lab needs, once: QEMU, KERNELS, udev, sriov-cni
	@tests/lab/setup.sh

clean: ## remove everything that was built, the lab's downloads too
	rm -rf $(BUILD)
