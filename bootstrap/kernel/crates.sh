#!/usr/bin/env bash
# Compiles fruits-core and its dependencies as cells use them: in a crate like the one that evcxr makes of a cell, with its name, its
# dependencies and its profiles.
source "$(dirname "${BASH_SOURCE[0]}")/names.sh"
lock_kits

mkdir -p "$BUILD/src" "$BUILD/.cargo"
# What evcxr writes into Cargo.toml, these settings replace: only the cell itself is compiled as it says.
{
    echo "# From the top Cargo.toml; without the assertions that tests want."
    sed -n '/^\[profile.dev\]/,$p' "$REPO/Cargo.toml" | sed 's/^fruits-core = .*/fruits-core = { opt-level = 3 }/'
    echo "ctx = { opt-level = 0, debug-assertions = true, overflow-checks = true }"
} >"$BUILD/.cargo/config.toml"
cat >"$BUILD/Cargo.toml" <<END
[package]
name = "ctx"
version = "1.0.0"
edition = "2024"

[profile.dev]
incremental = true

[dependencies]
fruits-core = { package = "fruits-kernel", path = "$HERE/facade" }
tokio = "1"

[workspace]
END
[ -e "$BUILD/src/lib.rs" ] || touch "$BUILD/src/lib.rs" # touched again, it would be compiled again
cmp -s "$HERE/worker.rs" "$BUILD/src/main.rs" || cp "$HERE/worker.rs" "$BUILD/src/main.rs"
# Cargo adds this crate to the lock file, for which it looks into the registry; without a network, the file has to stay.
if ! cmp -s "$REPO/Cargo.lock" "$BUILD/Cargo.lock.from"; then
    cp "$REPO/Cargo.lock" "$BUILD/Cargo.lock"
    cp "$REPO/Cargo.lock" "$BUILD/Cargo.lock.from"
fi
cd "$BUILD"
cargo build "${quiet[@]}"
