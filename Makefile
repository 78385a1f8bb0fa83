# BACKEND is cpu or cuda.
BACKEND    ?= cpu
CUDA_HOME  ?= /usr/local/cuda
TAGS        = sdcpp$(if $(filter cuda,$(BACKEND)),$(comma)cuda)
comma       = ,

export CUDA_ARCHS ENGINE_SRC ENGINE_NATIVE ENGINE_JOBS ENGINE_CMAKE_ARGS
ifeq ($(BACKEND),cuda)
export CGO_LDFLAGS = -O2 -g -L$(CUDA_HOME)/lib64 -L$(CUDA_HOME)/lib64/stubs
endif

help: ## list targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

engine: ## build the pinned native engine for BACKEND (cached; minutes the first time)
	@third_party/build.sh $(BACKEND)

build: engine ## bin/worker
	@scripts/prerequisites go
	go build -trimpath -tags $(TAGS) -o bin/worker ./cmd/worker

test: engine ## everything: pure Go without a C compiler, then the engine on a tiny checkpoint
	CGO_ENABLED=0 go test ./...
	go test -tags $(TAGS) -timeout 20m ./inference/sdcpp/... ./cmd/...

check: lint engine ## what CI runs: lint, then all tests under the race detector
	go test -race -tags $(TAGS) -timeout 30m ./...

lint: ## go vet, gofmt and golangci-lint
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these files'; exit 1; }
	go vet ./...
	golangci-lint run

clean: ## remove what was built here; the engine stays in the cache
	rm -rf bin out third_party/build inference/sdcpp/stamp_*.h

.PHONY: help engine build test check lint clean
