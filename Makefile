# SPDX-License-Identifier: Apache-2.0
# Millrace. `make help` lists what there is to do. MODE=release|debug|asan|tsan|cover; V=1 shows the commands.

MODE   ?= release
BUILD  ?= build
OUT    := $(BUILD)/$(MODE)
GEN    := $(BUILD)/gen
PREFIX ?= /usr/local
CC     ?= gcc
PY     ?= /usr/bin/python3
T      ?=
Q      := $(if $(V),,@)

PKGS := libuv libcurl libpq jansson libssl libcrypto
LLHTTP := /usr/share/llhttp
LLHTTP_INC := /usr/share/include/llhttp

COMMON_FLAGS := -std=gnu17 -g3 -fno-common -fno-strict-aliasing -fno-omit-frame-pointer -pthread
WARN := -Wall -Wextra -Wformat=2 -Wformat-overflow=2 -Wformat-truncation=2 -Wconversion -Wshadow \
	-Wstrict-prototypes -Wold-style-definition -Wmissing-prototypes -Wmissing-declarations \
	-Wredundant-decls -Wnested-externs -Wundef -Wpointer-arith -Wcast-qual -Wcast-align=strict \
	-Wwrite-strings -Wvla -Walloca -Wlogical-op -Wduplicated-cond -Wduplicated-branches \
	-Wimplicit-fallthrough=5 -Wdouble-promotion -Wfloat-equal -Wdate-time -Wenum-conversion \
	-Wuse-after-free=3 -Wdangling-pointer=2 -Wstringop-overflow=4 -Warray-bounds=2 \
	-Wjump-misses-init -Wbad-function-cast -Wframe-larger-than=16384 -Wtrampolines -Wbidi-chars=any -Werror
HARDEN := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection \
	-fcf-protection=full -ftrivial-auto-var-init=zero -fno-strict-overflow -fno-delete-null-pointer-checks -fPIE
LINK_HARDEN := -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code -Wl,--as-needed

FLAGS_release := -O2 $(HARDEN)
LINK_release  := $(LINK_HARDEN)
FLAGS_debug   := -Og -DMR_FAULTS
FLAGS_asan    := -O1 -DMR_FAULTS -fsanitize=address,undefined -fno-sanitize-recover=all -fsanitize-address-use-after-scope
LINK_asan     := -fsanitize=address,undefined
FLAGS_tsan    := -O1 -DMR_FAULTS -fsanitize=thread
LINK_tsan     := -fsanitize=thread
FLAGS_cover   := -O0 -DMR_FAULTS --coverage
LINK_cover    := --coverage

PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS))
PKG_LIBS   = $(shell pkg-config --libs $(PKGS))
ALL_CFLAGS  = $(COMMON_FLAGS) $(WARN) $(FLAGS_$(MODE)) -I. -I$(GEN) -isystem $(LLHTTP_INC) $(PKG_CFLAGS) $(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pthread $(LINK_$(MODE)) $(LDFLAGS)

SRCS := $(wildcard common/*.c common/*/*.c api/*.c api/*/*.c worker/*.c worker/*/*.c cli/*.c cli/*/*.c)
GENS := $(GEN)/sql_api.c $(GEN)/sql_worker.c $(GEN)/migrations.c $(GEN)/openapi_parts.c
LIB_OBJS := $(patsubst %.c,$(OUT)/%.o,$(filter-out cli/main.c,$(SRCS))) \
	$(patsubst $(GEN)/%.c,$(OUT)/gen/%.o,$(GENS)) $(OUT)/llhttp/api.o $(OUT)/llhttp/http.o $(OUT)/llhttp/llhttp.o
LIB  := $(OUT)/libmillrace.a
PROG := $(OUT)/millrace

TESTS := $(wildcard tests/unit/*/test_*.c tests/unit/*/*/test_*.c)
TEST_PROGS := $(patsubst tests/%.c,$(OUT)/tests/%,$(TESTS))
TEST_LIB_OBJS := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/lib/*.c))
BENCH_PROGS := $(patsubst tests/bench/%.c,$(OUT)/bench/%,$(wildcard tests/bench/*.c))

.PHONY: all build run test unit asan lint fmt bench docs deps deps-test deps-bench help install clean
MAKEFLAGS += -r
# Compiling takes all processors, unless somebody said how many; the targets of people go one after the other.
ifeq ($(MAKELEVEL)$(filter -j% --jobserver%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif
ifndef BUILT
.NOTPARALLEL:
endif
.DELETE_ON_ERROR:

all: build ## Build build/millrace (the default)

build: deps
	$(Q)$(MAKE) --no-print-directory BUILT=1 $(BUILD)/millrace

run: deps ## Start everything, run the sample, go on serving (ONCE=1: stop after the sample)
	$(Q)$(MAKE) --no-print-directory BUILT=1 $(BUILD)/millrace
	$(Q)$(BUILD)/millrace up --sample $(if $(ONCE),--once)

test: deps-test ## Run all tests (ASan+UBSan build); T=word runs those whose name holds it
	$(Q)$(MAKE) --no-print-directory BUILT=1 MODE=asan prog unit-progs bench-progs
	$(Q)$(MAKE) --no-print-directory BUILT=1 MODE=asan unit
	$(Q)$(MAKE) --no-print-directory BUILT=1 MODE=asan e2e

asan: ## Build with ASan and UBSan: build/asan/millrace
	$(Q)$(MAKE) --no-print-directory BUILT=1 MODE=asan prog

.PHONY: prog unit-progs e2e bench-progs
prog: $(PROG)
unit-progs: $(TEST_PROGS)

unit: $(TEST_PROGS)
	$(Q)tests/lib/run-unit $(OUT) "$(T)" $(TEST_PROGS)

e2e: $(PROG)
	$(Q)MILLRACE_BIN="$(abspath $(PROG))" tests/lib/run-e2e "$(T)"

bench: deps-bench ## Measure speed and size; writes tests/bench/README.md
	$(Q)$(MAKE) --no-print-directory BUILT=1 MODE=release prog bench-progs
	$(Q)MILLRACE_BIN="$(abspath $(BUILD)/release/millrace)" $(PY) tests/bench/run.py $(BENCH)

bench-progs: $(BENCH_PROGS)

deps:
	$(Q)deploy/install-packages build

deps-test:
	$(Q)deploy/install-packages test

deps-bench:
	$(Q)deploy/install-packages bench

lint: deps-test ## Include rules, banned names, sizes, complexity, cppcheck, SPDX lines
	$(Q)$(MAKE) --no-print-directory BUILT=1 MODE=debug prog
	$(Q)tests/lib/lint

docs: ## Write the reference pages that the program prints (settings, errors, metrics, schema)
	$(Q)$(MAKE) --no-print-directory BUILT=1 $(BUILD)/millrace
	$(Q)$(BUILD)/millrace docs settings > common/SETTINGS.md
	$(Q)$(BUILD)/millrace docs errors > api/ERRORS.md
	$(Q)$(BUILD)/millrace docs metrics > common/METRICS.md
	$(Q)$(BUILD)/millrace docs schema > deploy/millrace.schema.json

fmt: ## Format the lines of C that are not committed yet (git clang-format)
	$(Q)command -v git-clang-format >/dev/null || { echo "make fmt: apt-get install clang-format"; exit 1; }
	$(Q)git clang-format --force --extensions c,h HEAD; test $$? -le 1

install: all ## Install the program to $(DESTDIR)$(PREFIX)/bin
	install -D -m 755 $(BUILD)/millrace $(DESTDIR)$(PREFIX)/bin/millrace

clean: ## Remove what was built (not .millrace/, the data)
	rm -rf $(BUILD)

help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

$(BUILD)/millrace: FORCE
	$(Q)$(MAKE) --no-print-directory BUILT=1 MODE=release prog
	$(Q)cmp -s $(BUILD)/release/millrace $@ || cp -f $(BUILD)/release/millrace $@

.PHONY: FORCE
FORCE:

$(PROG): $(OUT)/cli/main.o $(LIB)
	@echo "  LD   $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(LIB): $(LIB_OBJS)
	@echo "  AR   $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(OUT)/tests/%: $(OUT)/tests/%.o $(TEST_LIB_OBJS) $(LIB)
	@echo "  LD   $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka

$(OUT)/bench/%: $(OUT)/tests/bench/%.o $(LIB)
	@echo "  LD   $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

.SECONDARY:

$(OUT)/llhttp/%.o: $(LLHTTP)/%.c $(OUT)/.flags
	@echo "  CC   $<"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(COMMON_FLAGS) $(FLAGS_$(MODE)) -w -DLLHTTP_STRICT_MODE=1 -I$(LLHTTP_INC) -c -o $@ $<

$(OUT)/gen/%.o: $(GEN)/%.c $(OUT)/.flags
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -Wno-overlength-strings -MMD -MP -c -o $@ $<

$(OUT)/%.o: %.c $(OUT)/.flags | $(GENS)
	@echo "  CC   $<"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# SQL, migrations and texts become C: a prepared statement per file, the migrations' list, the parts of the OpenAPI description.
$(GEN)/sql_%.c: $(wildcard api/sql/*.sql worker/sql/*.sql) common/embed.awk Makefile
	$(Q)mkdir -p $(GEN)
	$(Q)awk -v kind=sql -v room=$* -v header=$(GEN)/sql_$*.h -f common/embed.awk $(sort $(wildcard $*/sql/*.sql)) /dev/null > $@

$(GEN)/migrations.c: $(wildcard migrations/*.sql) common/embed.awk Makefile
	$(Q)mkdir -p $(GEN)
	$(Q)awk -v kind=migrations -v header=$(GEN)/migrations.h -f common/embed.awk $(sort $(wildcard migrations/*.sql)) /dev/null > $@

$(GEN)/openapi_parts.c: $(wildcard api/openapi/*.json) common/embed.awk Makefile
	$(Q)mkdir -p $(GEN)
	$(Q)awk -v kind=texts -v room=openapi_parts -v header=$(GEN)/openapi_parts.h -f common/embed.awk $(sort $(wildcard api/openapi/*.json)) /dev/null > $@

# Written only when the command line changes, so that a change of flags rebuilds all.
$(OUT)/.flags: FORCE
	$(Q)mkdir -p $(@D)
	$(Q)echo '$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)' | cmp -s - $@ || echo '$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)' > $@

-include $(LIB_OBJS:.o=.d) $(OUT)/cli/main.d $(TEST_PROGS:=.d) $(TEST_LIB_OBJS:.o=.d) $(BENCH_PROGS:$(OUT)/bench/%=$(OUT)/tests/bench/%.d)
