# The one place that names the steps. `make help` lists them.
#
#   BROKER=user|module   which broker `make demo` shows (default: user)
#   RUN='shell line'     what `make vm` runs in the VM
#   KDIR=path            the kernel tree that `make kmod` builds against: /lib/modules/$(uname -r)/build for
#                        the running kernel (default: Debian's 6.1 cloud kernel, fetched into the cache)
#   NLBUS_CACHE=path     where kernels, headers and QEMU are kept (default: ~/.cache/nlbus); may be deleted

BROKER ?= user
RUN ?=
KDIR ?= $$(tests/vm/fetch linux)/kdir

.DEFAULT_GOAL := help
.PHONY: help vm kmod clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile

vm: export RUN := $(RUN)
vm: ## boot a VM with the module loaded and run the shell line RUN in it
	@[ -n "$$RUN" ] || { echo "usage: make vm RUN='shell line'" >&2; exit 2; }
	@tests/vm/run "$$RUN"

kmod: ## build target/kmod/nlbus.ko
	@scripts/need kmod
	scripts/kmod "$(KDIR)" target/kmod

clean: ## remove what was built (the cache stays)
	rm -rf target
