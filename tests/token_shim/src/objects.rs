//! Objects: found or hidden, and made as requested or not.

use cryptoki_sys::CK_ATTRIBUTE;
use cryptoki_sys::CK_FALSE;
use cryptoki_sys::CK_MECHANISM;
use cryptoki_sys::CK_OBJECT_HANDLE;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CK_SESSION_HANDLE;
use cryptoki_sys::CK_TRUE;
use cryptoki_sys::CK_ULONG;
use cryptoki_sys::CK_UNAVAILABLE_INFORMATION;
use cryptoki_sys::CKA_CLASS;
use cryptoki_sys::CKA_EXTRACTABLE;
use cryptoki_sys::CKA_ID;
use cryptoki_sys::CKA_PRIVATE;
use cryptoki_sys::CKA_SENSITIVE;
use cryptoki_sys::CKO_SECRET_KEY;
use cryptoki_sys::CKR_ATTRIBUTE_TYPE_INVALID;
use cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED;
use cryptoki_sys::CKR_OK;

use crate::attribute;
use crate::control;
use crate::control::Control;
use crate::control::Like;
use crate::counts;
use crate::mechanisms;
use crate::real::real;
use crate::sessions;

pub(crate) unsafe fn find_init(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG) -> CK_RV {
    let _inside = sessions::inside();
    let control = control::current();
    let template = attribute::template(template, count);
    let refused = control.refused_in_searches.iter();
    let mut refused = refused.filter(|(refused, _)| template.iter().any(|attribute| attribute.type_ == *refused));
    if let Some((_, answer)) = refused.next() {
        return *answer;
    }
    let mut own = template.to_vec();
    own.retain(|attribute| !control.ignored_in_searches.contains(&attribute.type_));
    real!(C_FindObjectsInit(session, own.as_mut_ptr(), own.len() as CK_ULONG))
}

/// The key that an operation uses in place of the requested one.
pub(crate) unsafe fn exchanged(
    control: &Control,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
) -> CK_OBJECT_HANDLE {
    let of_id = control.exchanged.iter();
    let mut of_id = of_id.filter_map(|(id, other)| Some((secret_key(session, id)?, secret_key(session, other)?)));
    of_id.find(|(of_id, _)| *of_id == key).map_or(key, |(_, other)| other)
}

unsafe fn secret_key(session: CK_SESSION_HANDLE, id: &[u8]) -> Option<CK_OBJECT_HANDLE> {
    let class = CKO_SECRET_KEY;
    let mut template = [
        CK_ATTRIBUTE {
            type_: CKA_CLASS,
            pValue: (&raw const class).cast_mut().cast(),
            ulValueLen: size_of_val(&class) as CK_ULONG,
        },
        CK_ATTRIBUTE {
            type_: CKA_ID,
            pValue: id.as_ptr().cast_mut().cast(),
            ulValueLen: id.len() as CK_ULONG,
        },
    ];
    let (mut found, mut count) = (0, 0);
    let count_of_template = template.len() as CK_ULONG;
    if real!(C_FindObjectsInit(session, template.as_mut_ptr(), count_of_template)) == CKR_OK {
        real!(C_FindObjects(session, &raw mut found, 1, &raw mut count));
        real!(C_FindObjectsFinal(session));
    }
    (count == 1).then_some(found)
}

pub(crate) unsafe fn find(
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    most: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    let _inside = sessions::inside();
    let control = control::current();
    let answer = real!(C_FindObjects(session, objects, most, count));
    if let (CKR_OK, Some((line, limits))) = (answer, control.finds_nothing) {
        let call = counts::update(&control.place.count_of(line), |count| count + 1);
        if limits.include(call) {
            *count = 0;
        }
    }
    answer
}

pub(crate) unsafe fn create(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let _inside = sessions::inside();
    let control = control::current();
    match altered(&control, attribute::template(template, count)) {
        Ok(mut own) => real!(C_CreateObject(session, own.as_mut_ptr(), count, object)),
        Err(answer) => answer,
    }
}

pub(crate) unsafe fn generate(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let _inside = sessions::inside();
    let control = control::current();
    let refused = mechanism
        .as_ref()
        .and_then(|mechanism| mechanisms::refusal(&control, mechanism.mechanism));
    match altered(&control, attribute::template(template, count)) {
        _ if refused.is_some() => refused.unwrap_or_default(),
        Ok(mut own) => real!(C_GenerateKey(session, mechanism, own.as_mut_ptr(), count, key)),
        Err(answer) => answer,
    }
}

/// The template from which the key is made in fact.
unsafe fn altered(control: &Control, template: &[CK_ATTRIBUTE]) -> Result<Vec<CK_ATTRIBUTE>, CK_RV> {
    static YES: u8 = CK_TRUE;
    static NO: u8 = CK_FALSE;
    for refused in &control.refused_attributes {
        let is_it = |attribute: &&CK_ATTRIBUTE| {
            attribute.type_ == refused.attribute
                && (refused.value.is_none() || attribute::boolean(attribute) == refused.value)
        };
        if template.iter().find(is_it).is_some() {
            return Err(refused.answer);
        }
    }
    let mut own = template.to_vec();
    for attribute in own.iter_mut().filter(|_| control.weak_template) {
        match attribute.type_ {
            CKA_SENSITIVE => attribute.pValue = (&raw const NO).cast_mut().cast(),
            CKA_EXTRACTABLE => attribute.pValue = (&raw const YES).cast_mut().cast(),
            _ => {}
        }
    }
    for attribute in own.iter_mut().filter(|_| control.public_template) {
        if attribute.type_ == CKA_PRIVATE {
            attribute.pValue = (&raw const NO).cast_mut().cast();
        }
    }
    Ok(own)
}

pub(crate) unsafe fn attributes(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let _inside = sessions::inside();
    let control = control::current();
    let answer = real!(C_GetAttributeValue(session, object, template, count));
    let mut hidden = false;
    for attribute in attribute::template(template, count) {
        if control.hidden_attributes.contains(&attribute.type_) {
            attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
            hidden = true;
        }
    }
    if answer == CKR_OK && hidden {
        return CKR_ATTRIBUTE_TYPE_INVALID;
    }
    answer
}

pub(crate) unsafe fn set_attributes(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let _inside = sessions::inside();
    if control::current().like == Like::CloudHsm {
        return CKR_FUNCTION_NOT_SUPPORTED;
    }
    real!(C_SetAttributeValue(session, object, template, count))
}
