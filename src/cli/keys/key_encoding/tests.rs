//! Promises of `keys import` about the forms of keys.

use proptest::prelude::*;

use super::*;

const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddee12";
const BYTES: [u8; 32] = [
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00, 0x11, 0x22,
    0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x12,
];
const BASE64: &str = "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7hI=";
const BASE64URL: &str = "ABEiM0RVZneImaq7zN3u_wARIjNEVWZ3iJmqu8zd7hI=";
/// What `openssl rand -hex 16` prints, in the way many tutorials make a key.
const ASCII: &str = "0123456789abcdef0123456789abcdef";

fn read(form: Form, text: impl AsRef<[u8]>) -> Result<[u8; 32], String> {
    parse(form, text.as_ref())
        .map(|key| *key.expose())
        .map_err(|error| error.to_string())
}

fn said(form: Form, text: impl AsRef<[u8]>) -> String {
    read(form, text).unwrap_err()
}

#[test]
fn the_keys_of_other_systems_are_taken_in_their_forms() {
    assert_eq!(read(Form::Hex, HEX).unwrap(), BYTES);
    assert_eq!(read(Form::Hex, HEX.to_uppercase()).unwrap(), BYTES);
    assert_eq!(read(Form::Base64, BASE64).unwrap(), BYTES);
    assert_eq!(read(Form::Base64, BASE64.trim_end_matches('=')).unwrap(), BYTES);
    assert_eq!(read(Form::Base64Url, BASE64URL).unwrap(), BYTES);
    assert_eq!(read(Form::Base64Url, BASE64URL.trim_end_matches('=')).unwrap(), BYTES);
    assert_eq!(read(Form::Raw, BYTES).unwrap(), BYTES);
    assert_eq!(read(Form::Ascii, ASCII).unwrap(), ASCII.as_bytes());
}

#[test]
fn one_line_end_does_no_harm_to_the_text_forms() {
    for end in ["\n", "\r\n"] {
        assert!(read(Form::Hex, format!("{HEX}{end}")).is_ok());
        assert!(read(Form::Base64, format!("{BASE64}{end}")).is_ok());
        assert!(read(Form::Base64Url, format!("{BASE64URL}{end}")).is_ok());
        assert!(read(Form::Ascii, format!("{ASCII}{end}")).is_ok());
    }
    assert!(read(Form::Hex, format!("{HEX}\n\n")).is_err());
    assert!(read(Form::Hex, format!(" {HEX}")).is_err());
    let mut ends_with_a_line_end = BYTES;
    ends_with_a_line_end[31] = b'\n';
    assert_eq!(read(Form::Raw, ends_with_a_line_end).unwrap(), ends_with_a_line_end);
}

#[test]
fn each_wrong_length_is_said_plainly() {
    assert_eq!(
        said(Form::Hex, &HEX.as_bytes()[..62]),
        "32 bytes are needed, this is 31 (62 hexadecimal digits)"
    );
    assert_eq!(
        said(Form::Hex, &HEX.as_bytes()[..63]),
        "32 bytes are needed, which are 64 hexadecimal digits; these are 63"
    );
    assert_eq!(
        said(Form::Base64, "AAECAwQFBgcICQoLDA0ODw=="),
        "32 bytes are needed, this is 16 (24 characters of base64)"
    );
    assert_eq!(said(Form::Raw, &BYTES[..31]), "32 bytes are needed, this is 31");
    assert_eq!(
        said(Form::Ascii, &ASCII.as_bytes()[..31]),
        "32 characters are needed, these are 31"
    );
    for form in Form::ALL {
        assert_eq!(said(form, ""), "32 bytes are needed, this is empty");
    }
}

#[test]
fn another_form_that_fits_is_proposed() {
    assert_eq!(
        said(Form::Hex, ASCII),
        "32 bytes are needed, this is 16 (32 hexadecimal digits); these 32 characters are hexadecimal: --ascii uses them \
         as bytes, --hex needs 64 digits"
    );
    assert!(said(Form::Ascii, HEX).ends_with("; --hex reads it as 32 bytes"));
    assert!(said(Form::Raw, format!("{HEX}\n")).ends_with("; --hex reads it as 32 bytes"));
    assert!(said(Form::Base64, BASE64URL).ends_with("; --base64url reads it as 32 bytes"));
    assert!(said(Form::Base64Url, BASE64).ends_with("; --base64 reads it as 32 bytes"));
    assert!(said(Form::Hex, BASE64).ends_with("; --base64 reads it as 32 bytes"));
    assert!(said(Form::Hex, BYTES).ends_with("; --raw reads it as 32 bytes"));
    assert_eq!(
        said(Form::Raw, format!("{ASCII}\n")),
        "32 bytes are needed, this is 33; without the line break it would be 32: --ascii accepts that"
    );
}

#[test]
fn what_is_surely_no_key_is_refused() {
    assert!(said(Form::Hex, "00".repeat(32)).contains("all 32 bytes are the same"));
    assert!(said(Form::Ascii, "a".repeat(32)).contains("all 32 bytes are the same"));
}

#[test]
fn a_bad_character_is_told_by_its_place_alone() {
    let bad = HEX.replacen("22", "2x", 1);
    assert_eq!(said(Form::Hex, &bad), "character 6 is not a hexadecimal digit");
    assert_eq!(said(Form::Base64, "AAEC*"), "this is not base64");
    assert_eq!(
        said(Form::Ascii, "tab\there"),
        "byte 4 is not a printable ASCII character"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_no_error_quotes_them(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        for form in Form::ALL {
            parse(form, &bytes).ok();
        }
    }

    #[test]
    fn no_error_quotes_what_it_read(text in "[A-Za-z0-9+/=_-]{20,70}") {
        for form in Form::ALL {
            if let Err(error) = parse(form, text.as_bytes()) {
                let error = format!("{error} {error:?}");
                for part in text.as_bytes().windows(8) {
                    prop_assert!(!error.contains(std::str::from_utf8(part).unwrap()), "{error}");
                }
            }
        }
    }
}
