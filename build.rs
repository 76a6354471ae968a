//! Compiles the wire definitions in `proto/` with `protox`, which needs no `protoc`, and computes the build's id.

use std::hash::Hash as _;
use std::hash::Hasher as _;
use std::path::Path;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["proto/kms_v1beta1.proto", "proto/kms_v2.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_transport(false)
        // The derived `Debug` of these messages would print a plaintext.
        .skip_debug(["v1beta1.EncryptRequest", "v1beta1.DecryptResponse"])
        .skip_debug(["v2.EncryptRequest", "v2.DecryptResponse"])
        .compile_fds(descriptors)?;
    let sources = ["Cargo.lock", "build.rs", "proto", "src"];
    println!("cargo:rustc-env=DEKHAND_BUILD={:016x}", digest(&sources)?);
    for source in sources {
        println!("cargo:rerun-if-changed={source}");
    }
    Ok(())
}

/// A digest of the sources. Daemon and worker compare it, because builds of different sources could misread each other.
fn digest(sources: &[&str]) -> std::io::Result<u64> {
    let mut files = Vec::new();
    let mut paths: Vec<PathBuf> = sources.iter().map(PathBuf::from).collect();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            for entry in std::fs::read_dir(path)? {
                paths.push(entry?.path());
            }
        } else {
            files.push(path);
        }
    }
    files.sort();
    // This hasher has no random seed.
    let mut hasher = std::hash::DefaultHasher::new();
    for file in files {
        (Path::new(&file), std::fs::read(&file)?).hash(&mut hasher);
    }
    Ok(hasher.finish())
}
