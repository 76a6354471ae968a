//! Compiles the wire definitions in `proto/` with `protox`, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["proto/kms_v2.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_transport(false)
        // Their derived Debug would print a plaintext.
        .skip_debug(["v2.EncryptRequest", "v2.DecryptResponse"])
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
