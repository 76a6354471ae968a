//! Attributes: their names, and access to those of a template.

use cryptoki_sys::CK_ATTRIBUTE;
use cryptoki_sys::CK_ATTRIBUTE_TYPE;
use cryptoki_sys::CK_TRUE;
use cryptoki_sys::CK_ULONG;

macro_rules! names {
    ($($name:ident)*) => {
        /// The name of a key's attribute.
        pub(crate) fn by_name(name: &str) -> Option<CK_ATTRIBUTE_TYPE> {
            Some(match name {
                $(stringify!($name) => cryptoki_sys::$name,)*
                _ => return None,
            })
        }
    };
}

names! {
    CKA_CLASS CKA_TOKEN CKA_PRIVATE CKA_LABEL CKA_VALUE CKA_KEY_TYPE CKA_ID CKA_SENSITIVE CKA_ENCRYPT CKA_DECRYPT CKA_WRAP
    CKA_UNWRAP CKA_SIGN CKA_VERIFY CKA_DERIVE CKA_START_DATE CKA_END_DATE CKA_VALUE_LEN CKA_EXTRACTABLE CKA_LOCAL
    CKA_NEVER_EXTRACTABLE CKA_ALWAYS_SENSITIVE CKA_MODIFIABLE CKA_COPYABLE CKA_DESTROYABLE CKA_CHECK_VALUE
    CKA_ALLOWED_MECHANISMS CKA_WRAP_WITH_TRUSTED CKA_TRUSTED CKA_UNIQUE_ID CKA_KEY_GEN_MECHANISM
}

/// A caller's template.
pub(crate) unsafe fn template<'a>(template: *mut CK_ATTRIBUTE, count: CK_ULONG) -> &'a mut [CK_ATTRIBUTE] {
    if template.is_null() {
        return &mut [];
    }
    std::slice::from_raw_parts_mut(template, usize::try_from(count).unwrap_or(0))
}

/// The value of an attribute that is a boolean.
pub(crate) unsafe fn boolean(attribute: &CK_ATTRIBUTE) -> Option<bool> {
    let pointer: *const u8 = attribute.pValue.cast();
    (attribute.ulValueLen == 1 && !pointer.is_null()).then(|| *pointer == CK_TRUE)
}
