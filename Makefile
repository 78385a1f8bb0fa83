# BACKEND is cpu, cuda or vulkan.
BACKEND   ?= cpu
CUDA_HOME ?= /usr/local/cuda
TAGS      := $(shell scripts/tags $(BACKEND))
TOOL       = go tool -modfile=tools/go.mod
NVML       = go test -tags cuda ./internal/gpustat # with a stand-in for NVIDIA's library
comma     := ,
TINY       = models-local/Stable-diffusion/tiny-synthetic.safetensors

export CUDA_ARCHS ENGINE_SRC ENGINE_NATIVE ENGINE_JOBS ENGINE_CMAKE_ARGS
ifeq ($(BACKEND),cuda)
export CGO_LDFLAGS = -O2 -g -L$(CUDA_HOME)/lib64
endif

help: ## list targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

engine: ## build the pinned native engine for BACKEND (cached; minutes the first time)
	@third_party/build.sh $(BACKEND)

build: engine ## bin/worker
	@scripts/prerequisites go
	go build -trimpath $(if $(VERSION),-ldflags "-X main.stamped=$(VERSION)") -tags $(TAGS) -o bin/worker ./cmd/worker

$(TINY): | build
	@mkdir -p $(@D)
	bin/worker models synth --size tiny $@

demo: build ## a cartoon of a prompt and a sheet of eight, from nothing
	@scripts/demo

test: engine ## all tests: pure Go without a C compiler, then those that need the engine
	CGO_ENABLED=0 go test ./...
	$(NVML)
	go test -tags $(TAGS) -timeout 20m ./inference/sdcpp/... ./cmd/...

test-vulkan: ## the engine's tests on a Vulkan device, DEVICE=vulkan0, such as Mesa's lavapipe; SHORT=1 the part of CI
	@third_party/build.sh vulkan
	LP_NATIVE_VECTOR_WIDTH=256 SDWORKER_TEST_DEVICE=$(or $(DEVICE),vulkan0) go test -tags $(shell scripts/tags vulkan),vulkanheap -count=1 -timeout 2h $(if $(SHORT),-short) \
		-run '$(if $(SHORT),Software|SmallSubgroups|AFileThatFindsNoMemory|ReportedMemory|EachNetwork|OneCopy|EncodeSides|EngineUpscales|UNetVectors/all,Software|NoMemory|ReportedMemory|OneCopy|Tiles|GivenBack|Device|Engine$$|EngineRuns|EngineDetects|EngineUpscales|UNetVectors|IPAdapter|ImageEncoder|DepthVectors|Reference|LoRAsLeaveNoTrace|OpenAndClose|EncodeSides)' ./inference/sdcpp

race: ## the packages that share state between goroutines, under the race detector
	go test -race -timeout 20m $$(scripts/racy)

soak: ## SOAK=30m of mixed load with faults, out/soak.svg; SOAK_MODEL=file for the real engine
	@mkdir -p out
	$(if $(SOAK_MODEL),,CGO_ENABLED=0) SOAK=$(or $(SOAK),30m) SOAK_MODEL=$(abspath $(SOAK_MODEL)) SOAK_CHART=$(CURDIR)/out/soak.svg \
		go test -count=1 -v -timeout 24h -tags soak$(if $(SOAK_MODEL),$(comma)$(TAGS)) -run '^TestSoak' ./cmd/worker

faults: ## every fault of the engine in every phase of a job at every door
	CGO_ENABLED=0 go test -count=1 -tags faults -run '^(TestFaults|TestHangs|TestEndInEveryPhase|TestRunPodStorm)$$' ./cmd/worker

check: style engine ## what CI runs: style, every test, those that can race under the race detector, a minute of fuzzing
	CGO_ENABLED=0 go test $$(scripts/racy others)
	CGO_ENABLED=0 go test -run TestBombs ./api/sdapi
	$(NVML)
	$(MAKE) race
	go test -tags $(TAGS) -timeout 20m ./inference/sdcpp/... ./cmd/...
	$(MAKE) fuzz

fuzz: ## each fuzz target for FUZZTIME, from the inputs in testdata/fuzz
	@scripts/fuzz $(or $(FUZZTIME),2s)

sanitize: ## kernels, binding and ggml's CPU part with address and undefined behaviour sanitizers (long)
	@scripts/sanitize

style: ## formats of Go, C and C++, go vet, shellcheck and licences
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these files'; exit 1; }
	go vet ./...
	@scripts/style
	@scripts/licences | diff - third_party/LICENSES.md || { echo 'run make licences'; exit 1; }

lint: engine style manifests ## style, manifests, and golangci-lint, which reads the engine's headers
	$(TOOL) golangci-lint run

manifests: ## deploy/kubernetes against the types of Kubernetes and of the Prometheus operator
	cd tools && go test ./manifests

docs: ## rewrite the tables of docs/configuration.md and docs/resources.md
	CGO_ENABLED=0 go test -run "ConfigurationPage|MemoryTable" ./cmd/worker -update

baseline: ## the unpatched engine's own pipeline, for bench to compare with
	@third_party/build.sh baseline

benchstat: ## Go benchmarks of two revisions; OLD=main PKG=./inference/sampler BENCH=.
	@BENCH=$(BENCH) scripts/benchstat $(or $(OLD),main) $(PKG)

bench: build $(TINY) ## how fast this machine is; MODEL=file for a real checkpoint
	bin/worker bench --model $(or $(MODEL),$(TINY))

release: ## commit, tag and archive of RELEASE=x.y.z; DRY_RUN=1 tries it in a clone
	@scripts/release $(if $(DRY_RUN),--dry-run) "$(RELEASE)"

engine-bump: ## pin engine source VERSION=x.y.z and ggml GGML=x.y.z, and try what still fits
	@scripts/engine-bump "$(VERSION)" "$(GGML)"

cuda-check: ## compile and link the CUDA build without a GPU (CUDA from PyPI; an hour on 2 cores)
	@scripts/cuda-check

licences: ## write third_party/LICENSES.md after a change of dependencies
	scripts/licences > third_party/LICENSES.md

clean: ## remove what was built here; the engine stays in the cache
	rm -rf bin out third_party/build inference/sdcpp/stamp_*.h

.PHONY: manifests faults soak help engine build demo test test-vulkan race check fuzz sanitize style lint docs baseline bench benchstat release engine-bump cuda-check licences clean
