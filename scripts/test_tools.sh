#!/bin/sh
# Installs the Debian packages that tests use and that are missing; needs root only when something is.
set -eu
missing=
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
PATH=$PATH:/usr/sbin:/sbin
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
need nft nftables
need ip iproute2
need setpriv util-linux
need clang clang
need llvm-strip llvm
need bpftool bpftool
[ -e /usr/include/bpf/bpf_helpers.h ] || missing="$missing libbpf-dev"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "Tests that need these Debian packages will fail:$missing" >&2
    exit 0
fi
echo "Installing for the tests:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
