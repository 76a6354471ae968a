# What the suites share: where they are, and how a missing tool is installed. Sourced, never run.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly CARGO_DENY=0.20.2 CARGO_FUZZ=0.13.2
readonly TOOLS=${XDG_CACHE_HOME:-$HOME/.cache}/dekhand/tools
readonly TARGET=${CARGO_TARGET_DIR:-target}
# Tests know this directory, which cargo makes for them, as CARGO_TARGET_TMPDIR.
readonly SCRATCH=$TARGET/tmp
export PATH=$TOOLS/bin:$PATH

say() {
    printf '\n==> %s\n' "$*"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Installs Debian packages, as root or with sudo.
install_packages() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q)
    command -v apt-get >/dev/null || die "missing: $*. This is not Debian: install the equivalent packages"
    if [[ $(id -u) != 0 ]]; then
        sudo -n true 2>/dev/null || die "missing: $*. Installing them takes root or sudo: apt-get install $*"
        apt=(sudo -n "${apt[@]}")
    fi
    say "installing $*"
    "${apt[@]}" update </dev/null || die "apt-get update failed, and $* are missing"
    "${apt[@]}" install -y --no-install-recommends "$@" </dev/null || die "apt-get cannot install $*"
}

need_cargo() {
    command -v cargo >/dev/null || die "cargo is missing: install Rust from https://rustup.rs"
    # The linker of Rust programs, and the C++ compiler of the fuzzer's driver.
    if ! command -v cc >/dev/null || ! command -v c++ >/dev/null; then
        install_packages build-essential
    fi
}

need_go() {
    command -v go >/dev/null || die "go is missing: install Go 1.26 or later from https://go.dev/dl/"
}

need_component() {
    local component=$1 command=$2
    cargo "$command" --version >/dev/null 2>&1 && return
    command -v rustup >/dev/null || die "cargo $command is missing: install the component $component of your toolchain"
    rustup component add "$component" || die "rustup cannot add $component"
}

# Installs a cargo subcommand in exactly this version, so that its verdicts change only with this file.
need_tool() {
    local name=$1 version=$2
    [[ $("$name" --version 2>/dev/null) == "$name $version" ]] && return
    say "installing $name $version into $TOOLS"
    # Not optimized: it is built in half the time and fast enough.
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$TOOLS/build \
        cargo install --locked --debug --force --root "$TOOLS" "$name@$version" ||
        die "cargo cannot install $name $version from crates.io"
    rm -rf "$TOOLS/build"
}

# Sets PYTHON to a Python that has the package `cryptography`: the first one on the path may lack it.
need_python() {
    local candidate
    for candidate in python3 /usr/bin/python3; do
        if "$candidate" -c 'import cryptography' 2>/dev/null; then
            PYTHON=$candidate
            return
        fi
    done
    install_packages python3 python3-cryptography
    PYTHON=/usr/bin/python3
    "$PYTHON" -c 'import cryptography' || die "python3-cryptography is installed, but $PYTHON cannot import it"
}

# Installs SoftHSM, the token of the tests, with the program that makes tokens, and pkcs11-tool, which needs no PIN.
need_softhsm() {
    local module
    # The same places as in tests/token_shim.
    for module in "${DEKHAND_SHIM_MODULE:-}" /usr/lib/softhsm/libsofthsm2.so /usr/lib64/pkcs11/libsofthsm2.so \
        /usr/lib64/softhsm/libsofthsm2.so /usr/local/lib/softhsm/libsofthsm2.so; do
        [[ ! -f $module ]] || ! command -v softhsm2-util >/dev/null || ! command -v pkcs11-tool >/dev/null || return 0
    done
    install_packages softhsm2 opensc
}

# Installs patch, with which the simulation plants its defects.
need_patch() {
    command -v patch >/dev/null || install_packages patch
}

# Builds target/debug/dekhand as the tests do, with the same features of its dependencies: `cargo build` would compile a
# part of them again.
build_dekhand() {
    cargo test --locked --no-run --test daemon
}
