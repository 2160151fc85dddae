# natrix: the terminal of a network-testing system.
#
#   make demo    build the image, boot it in QEMU, send it commands, print the answers
#   make test    everything: unit tests, namespaces, a real broker, booted boards

BOARD ?= amd64

export CGO_ENABLED = 0
GOFLAGS_BUILD = -trimpath -buildvcs=false -ldflags='-s -w -buildid='
MAIN = ./agent/cmd/natrix

.PHONY: build image demo check test fuzz bench clean

build: ## build/natrix for this machine, and natrix-{amd64,arm,arm64} for the boards
	go build $(GOFLAGS_BUILD) -o build/natrix $(MAIN)
	GOARCH=amd64 go build $(GOFLAGS_BUILD) -o build/natrix-amd64 $(MAIN)
	GOARCH=arm GOARM=7 go build $(GOFLAGS_BUILD) -o build/natrix-arm $(MAIN)
	GOARCH=arm64 go build $(GOFLAGS_BUILD) -o build/natrix-arm64 $(MAIN)

image: ## build/image/$(BOARD): kernel and initramfs; CONFIG=natrix.ini puts a configuration into it
	go run ./image/cmd/mkimage -board $(BOARD) $(if $(CONFIG),-config $(CONFIG))

demo: packages-demo
	go run ./image/cmd/demo

check: ## vet, unit tests and fuzz seeds: a minute, no root, no network
	gofmt -l agent board image sysinfo | (! grep .)
	go vet ./...
	GOARCH=arm GOARM=7 go vet ./...
	GOARCH=arm64 go vet ./...
	go test ./...

test: packages-test check
	NATRIX_MUST=net,rabbitmq,mtr,fping,boot go test -count=1 -p 1 -timeout 20m ./...

fuzz: ## every fuzz target for FUZZTIME
	image/fuzz.sh $(or $(FUZZTIME),1m)

bench: packages-bench
	go test -run '^$$' -bench . -p 1 ./agent/packet ./agent/door/mtr

clean:
	rm -rf build

# Debian packages that the project needs beyond git, make and Go.
packages-demo: PACKAGES = rabbitmq-server qemu-system-x86
packages-test: PACKAGES = rabbitmq-server qemu-system-x86 qemu-system-arm mtr-tiny fping
packages-bench: PACKAGES = mtr-tiny fping
packages-%:
	@image/packages.sh $(PACKAGES)
