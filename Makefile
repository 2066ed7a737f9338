# Plain go commands, looped over the modules of go.work. 'make check' is what CI runs.

MODULES := $(dir $(shell git ls-files 'go.mod' '*/go.mod'))
FUZZTIME ?= 60s
BENCH ?= .
COUNT ?= 6
ROUNDS ?= 5

GOLANGCI_LINT ?= go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOFUMPT ?= go run mvdan.cc/gofumpt@v0.12.0

each = @set -e; for m in $(MODULES); do echo "== $$m: $(1)"; (cd $$m && $(1)); done

.PHONY: check build test race fuzz bench bench-peers bench-wire differential lint tidy vectors

check: build lint tidy race ## all that must hold before a commit

build:
	$(call each,go build ./...)

test:
	$(call each,go test ./...)

race:
	$(call each,go test -race ./...)

lint:
	$(call each,go vet ./...)
	@out=$$($(GOFUMPT) -l .); if [ -n "$$out" ]; then echo "gofumpt would change:"; echo "$$out"; exit 1; fi
	$(call each,$(GOLANGCI_LINT) run ./...)

tidy:
	$(call each,go mod tidy -diff)

fuzz: ## every fuzz target for FUZZTIME
	@set -e; for m in $(MODULES); do (cd $$m && \
	  go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... | while read -r pkg; do \
	    go test -list '^Fuzz' $$pkg | grep '^Fuzz' | while read -r target; do \
	      echo "== $$pkg $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$pkg; \
	    done; \
	  done); done

bench: ## COUNT interleaved runs of BENCH, then medians and ratios to each peer
	go run ./benchmarks/compare -bench '$(BENCH)' -count $(COUNT)

bench-peers: ## the same of the tables, beside other libraries
	go run ./benchmarks/compare -pkg ./benchmarks/peers -bench '$(BENCH)' -count $(COUNT)

differential: ## the lab held against this machine's kernel (root; Debian: iproute2 bridge-utils net-tools iputils-ping arping traceroute tcpdump tcpreplay netcat-openbsd ethtool)
	cd lab && CULVERT_REQUIRE_NETNS=1 go test -tags differential -count=1 -timeout 20m -parallel 8 -run '^TestDifferential$$' .

vectors: ## the test vectors, made anew by scapy (Debian: python3-scapy)
	/usr/bin/python3 internal/vectors/generate.py >internal/vectors/vectors.json

bench-wire: ## drivers beside the kernel's VXLAN device and Open vSwitch (root; Debian: iproute2 iputils-ping ethtool iperf3 openvswitch-switch)
	CULVERT_REQUIRE_NETNS=1 go test -tags wire -count=1 -timeout 60m -v -run '^TestWire$$' ./benchmarks/wire -args -rounds $(ROUNDS)
