# natrix: the terminal of a network-testing system.
#
#   make demo    build the image, boot it in QEMU, send it commands, print the answers
#   make test    everything: unit tests, namespaces, a real broker, booted boards

BOARD ?= amd64
BOARDS = amd64 rpi2 rpi3

export CGO_ENABLED = 0
GOFLAGS_BUILD = -trimpath -buildvcs=false -ldflags='-s -w -buildid=' $(if $(EMBED),-tags $(EMBED))
MAIN = ./agent/cmd/natrix

.PHONY: build image update update-key flash fetch sbom lock location demo vet check test fuzz chaos bench man clean

build: $(if $(EMBED),embed-$(EMBED)) ## build/natrix for this machine, and natrix-{amd64,arm,arm64} for the boards; EMBED=location puts the location data into them, 11 MB
	go build $(GOFLAGS_BUILD) -o build/natrix $(MAIN)
	GOARCH=amd64 go build $(GOFLAGS_BUILD) -o build/natrix-amd64 $(MAIN)
	GOARCH=arm GOARM=7 go build $(GOFLAGS_BUILD) -o build/natrix-arm $(MAIN)
	GOARCH=arm64 go build $(GOFLAGS_BUILD) -o build/natrix-arm64 $(MAIN)

image: ## build/image/$(BOARD): the medium, kernel and initramfs; CONFIG=natrix.ini puts a configuration into them, LOCATION=build/location/data location data, KEYS=build/update.key.pub who may sign updates of it, URL=https://... where the Imager will find it
	go run ./image/cmd/mkimage -board $(BOARD) $(if $(CONFIG),-config $(CONFIG)) $(if $(LOCATION),-location $(LOCATION)) $(if $(KEYS),-keys $(KEYS)) $(if $(URL),-url $(URL))

update-key: ## build/update.key, which signs updates, and build/update.key.pub for images
	mkdir -p build
	go run ./image/cmd/mkimage -new-key build/update.key

update: ## build/image/$(BOARD)/natrix-$(BOARD).update, signed by KEY=build/update.key, for terminals that trust it
	go run ./image/cmd/mkimage -board $(BOARD) -keys $(or $(KEYS),$(KEY).pub) $(if $(LOCATION),-location $(LOCATION)) -sign $(KEY)

flash: ## write build/image/$(BOARD) to DEVICE=/dev/sdX, with CONFIG=natrix.ini if it is given
	$(if $(DEVICE),,$(error say where to: make flash BOARD=$(BOARD) DEVICE=/dev/sdX))
	go build $(GOFLAGS_BUILD) -o build/natrix $(MAIN)
	$(if $(shell test -w $(DEVICE) || echo no),sudo) build/natrix flash build/image/$(BOARD)/natrix-$(BOARD).img $(DEVICE) $(if $(CONFIG),--config $(CONFIG))

fetch: ## everything that a build of any board needs: after it, no network
	go mod download
	for board in $(BOARDS); do go run ./image/cmd/mkimage -fetch -board $$board || exit 1; done

sbom: ## what the image of $(BOARD) is made of: a table, and CycloneDX in build/image/$(BOARD)/sbom.cdx.json
	go run ./image/cmd/mkimage -sbom -board $(BOARD)

lock: ## move what is pinned in board/*/*.lock to Debian's present versions
	for board in $(BOARDS); do go run ./image/cmd/mkimage -lock -board $$board || exit 1; done

demo: packages-demo
	go run ./image/cmd/demo

location: packages-location ## build/location: where addresses are, from ip2region, for [LOCATION] data or make image LOCATION=build/location/data
	image/location.sh build/location

embed-location: location
	cp build/location/data/*.db agent/location/data/

vet:
	gofmt -l agent board image sysinfo | (! grep .)
	go vet ./...
	GOARCH=arm GOARM=7 go vet ./...
	GOARCH=arm64 go vet ./...

check: vet ## vet, unit tests and fuzz seeds: a minute, no root, no network
	go test -short ./...

# The packages in which goroutines share state, under the race detector, which needs a C compiler.
RACE = ./agent/command ./agent/config ./agent/doctor ./agent/door/... ./agent/logs ./agent/packet ./agent/probe ./agent/report ./agent/spool ./image/qemu ./sysinfo

test: packages-test location vet ## everything: unit tests, namespaces, a real broker, real mtr, booted boards; nothing skips
	NATRIX_MUST=net,rabbitmq,mtr,fping,curl,systemd,chromium,firefox,fat,loop,boot,location,tcpdump,zabbix go test -count=1 -p 1 -timeout 20m ./...
	NATRIX_MUST=rabbitmq CGO_ENABLED=1 go test -race -short -p 1 $(RACE)

fuzz: ## every fuzz target for FUZZTIME
	image/fuzz.sh $(or $(FUZZTIME),1m)

chaos: packages-chaos ## kill the agent, the broker and the connection for ten minutes, and account for every command
	NATRIX_MUST=net,rabbitmq go test -count=1 -timeout 20m -run Chaos -v ./agent/chaos -chaos 10m

bench: packages-bench
	go test -run '^$$' -bench . -p 1 ./agent/packet ./agent/door/basicagent ./agent/door/mtr ./agent/door/amqp ./agent/contract ./agent/door/rtstat

man: ## build/man: manual pages, from the same source as --help
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) go test -count=1 -run TestManualPages $(MAIN) -args -man $(CURDIR)/build/man

clean:
	rm -rf build agent/location/data/*.db

# Debian packages that the project needs beyond git, make and Go.
packages-demo: PACKAGES = rabbitmq-server qemu-system-x86
packages-test: PACKAGES = rabbitmq-server qemu-system-x86 qemu-system-arm mtr-tiny fping curl iproute2 systemd chromium firefox-esr gcc libc6-dev tcpdump ovmf dosfstools mtools zabbix-server-pgsql zabbix-agent postgresql
packages-location: PACKAGES = $(if $(shell command -v npm),,npm)
packages-chaos: PACKAGES = rabbitmq-server iproute2
packages-bench: PACKAGES = rabbitmq-server mtr-tiny fping iproute2
packages-%:
	@image/packages.sh $(PACKAGES)
