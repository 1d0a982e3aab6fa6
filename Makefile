# Every target says what it does; a failure says what to do. `make help` lists them.
.PHONY: help setup build demo test bench soak fuzz image fmt docs clean

help:   ## list the targets
	@sed -nE 's/^([a-z]+): .*## (.*)/  make \1\t\2/p' Makefile
setup:  ## install what is missing, fetch kernel, modules and firmware of the guest
	@scripts/setup.sh
build: setup  ## confide, confide-dev and the static guest, in target/release
	@scripts/build.sh
demo: build  ## build a container, boot it attested on this machine, then three attacks
	@scripts/demo.sh
test:   ## everything: format, lints, vectors, unit and end-to-end tests, the boots
	@scripts/setup.sh --tests
	@scripts/test.sh
bench: build  ## every promise of SPECIFICATION.md, each beside a named peer
	@scripts/bench.sh
soak: build  ## a broker under attack and load for long: memory, kills, full disks; SESSIONS, KILLS, SEED
	@scripts/soak.sh
fuzz:   ## every fuzz target for SECONDS seconds (60)
	@scripts/fuzz.sh
image: build  ## the key broker's container image, in target/confide-broker.tar
	@scripts/make-image.sh
fmt:    ## format the code
	@cargo fmt --all
docs: build  ## write the generated pages: command line, errors, workload file
	@scripts/docs.sh
clean:  ## remove what was built here
	@cargo clean && rm -rf demo-work
