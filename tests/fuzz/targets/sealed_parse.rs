//! The parser of the sealed format: no input panics it, and what it accepts is those bytes and no others.

#![no_main]

use dekhand::envelope::seal::Sealed;
use dekhand::envelope::seal::header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(sealed) = Sealed::parse(bytes) {
        assert_eq!([sealed.header, sealed.body].concat(), bytes);
        let rebuilt = header(sealed.suite, &sealed.id, &sealed.wrapped(), sealed.commitment);
        assert_eq!(rebuilt, sealed.header);
    }
});
