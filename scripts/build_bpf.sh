#!/bin/sh
# Builds the agent's BPF objects from their C sources: `build_bpf.sh [FOLDER]`, by default beside the sources.
# Needs clang, llvm-strip, bpftool and libbpf-dev (Debian's packages), and a kernel with BTF.
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)/agent/src/shieldwall_agent/bpf
target=${1:-$source}
PATH=$PATH:/usr/sbin:/sbin
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
bpftool btf dump file /sys/kernel/btf/vmlinux format c >"$scratch/vmlinux.h"
for file in "$source"/*.bpf.c; do
    name=$(basename "$file" .bpf.c)
    # The path of the source must not get into the object, or no two builds would be alike.
    clang -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -I"$scratch" -I"/usr/include/$(uname -m)-linux-gnu" -fdebug-compilation-dir=. \
        -ffile-prefix-map="$source"=. -Wall -Werror -Wno-missing-declarations \
        -c "$file" -o "$scratch/$name.bpf.o"
    llvm-strip -g "$scratch/$name.bpf.o"
    install -m 644 "$scratch/$name.bpf.o" "$target/$name.bpf.o"
    echo "$target/$name.bpf.o: $(stat -c %s "$target/$name.bpf.o") bytes"
done
