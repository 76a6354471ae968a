//! A caller of the module, through its function list as a worker has it.

use std::ptr::null_mut;

use cryptoki_sys::*;
use libloading::Library;
use token_shim::token::PIN;

pub(crate) type Result<T> = std::result::Result<T, CK_RV>;

/// Random of its kind: the tests have one data key to wrap.
pub(crate) const DATA_KEY: [u8; 32] = *b"thirty-two bytes of a data key..";

fn done(answer: CK_RV) -> Result<()> {
    if answer == CKR_OK { Ok(()) } else { Err(answer) }
}

/// Calls a function of the module.
macro_rules! call {
    ($driver:expr, $name:ident($($argument:expr),* $(,)?)) => {
        // SAFETY: every pointer here is to a live value of the type that the standard says.
        unsafe { ($driver.list.$name.unwrap())($($argument),*) }
    };
}
pub(crate) use call;

pub(crate) struct Driver {
    pub(crate) list: CK_FUNCTION_LIST,
}

impl Driver {
    /// The module, loaded and initialised.
    pub(crate) fn new() -> Self {
        let mut list = null_mut();
        // SAFETY: the shim's initialisers, and the one function that every module exports.
        let list = unsafe {
            let library = Box::leak(Box::new(Library::new(token_shim::path()).unwrap()));
            let get = library.get::<unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV>(b"C_GetFunctionList");
            assert_eq!((get.unwrap())(&raw mut list), CKR_OK);
            *list
        };
        let driver = Self { list };
        driver.initialize().unwrap();
        driver
    }

    pub(crate) fn initialize(&self) -> Result<()> {
        let mut arguments = CK_C_INITIALIZE_ARGS {
            flags: CKF_OS_LOCKING_OK,
            ..CK_C_INITIALIZE_ARGS::default()
        };
        done(call!(self, C_Initialize((&raw mut arguments).cast())))
    }

    pub(crate) fn finalize(&self) -> Result<()> {
        done(call!(self, C_Finalize(null_mut())))
    }

    /// The first slot with a token that is ready.
    pub(crate) fn slot(&self) -> CK_SLOT_ID {
        let mut slots = [0; 8];
        let mut count = 8;
        let answer = call!(self, C_GetSlotList(CK_TRUE, slots.as_mut_ptr(), &raw mut count));
        done(answer).unwrap();
        slots[0]
    }

    pub(crate) fn token_info(&self) -> CK_TOKEN_INFO {
        let mut info = CK_TOKEN_INFO::default();
        done(call!(self, C_GetTokenInfo(self.slot(), &raw mut info))).unwrap();
        info
    }

    pub(crate) fn open_with(&self, flags: CK_FLAGS) -> Result<CK_SESSION_HANDLE> {
        let mut session = 0;
        let flags = flags | CKF_SERIAL_SESSION;
        let answer = call!(
            self,
            C_OpenSession(self.slot(), flags, null_mut(), None, &raw mut session)
        );
        done(answer).map(|()| session)
    }

    /// A read-write session.
    pub(crate) fn open(&self) -> CK_SESSION_HANDLE {
        self.open_with(CKF_RW_SESSION).unwrap()
    }

    pub(crate) fn login(&self, session: CK_SESSION_HANDLE, pin: &str) -> Result<()> {
        let (pin, length) = (pin.as_ptr().cast_mut(), pin.len() as CK_ULONG);
        done(call!(self, C_Login(session, CKU_USER, pin, length)))
    }

    /// A session that is logged in.
    pub(crate) fn ready(&self) -> CK_SESSION_HANDLE {
        let session = self.open();
        self.login(session, PIN).unwrap();
        session
    }

    /// Makes an AES key for encryption, private and not extractable.
    pub(crate) fn generate(&self, session: CK_SESSION_HANDLE) -> Result<CK_OBJECT_HANDLE> {
        let (yes, no) = (CK_TRUE, CK_FALSE);
        let size: CK_ULONG = 32;
        let mut template = [
            attribute(CKA_TOKEN, &yes),
            attribute(CKA_PRIVATE, &yes),
            attribute(CKA_SENSITIVE, &yes),
            attribute(CKA_EXTRACTABLE, &no),
            attribute(CKA_ENCRYPT, &yes),
            attribute(CKA_DECRYPT, &yes),
            attribute(CKA_VALUE_LEN, &size),
        ];
        let mut mechanism = plain(CKM_AES_KEY_GEN);
        let (template, count) = (template.as_mut_ptr(), template.len() as CK_ULONG);
        let mut key = 0;
        let answer = call!(
            self,
            C_GenerateKey(session, &raw mut mechanism, template, count, &raw mut key)
        );
        done(answer).map(|()| key)
    }

    /// Imports an AES key.
    pub(crate) fn import(&self, session: CK_SESSION_HANDLE, value: &[u8; 32]) -> Result<CK_OBJECT_HANDLE> {
        let (yes, no) = (CK_TRUE, CK_FALSE);
        let (class, kind) = (CKO_SECRET_KEY, CKK_AES);
        let mut template = [
            attribute(CKA_CLASS, &class),
            attribute(CKA_KEY_TYPE, &kind),
            attribute(CKA_EXTRACTABLE, &no),
            attribute(CKA_ENCRYPT, &yes),
            attribute(CKA_DECRYPT, &yes),
            attribute(CKA_VALUE, value),
        ];
        let (template, count) = (template.as_mut_ptr(), template.len() as CK_ULONG);
        let mut key = 0;
        done(call!(self, C_CreateObject(session, template, count, &raw mut key))).map(|()| key)
    }

    /// Finds every object.
    pub(crate) fn find(&self, session: CK_SESSION_HANDLE) -> Result<Vec<CK_OBJECT_HANDLE>> {
        done(call!(self, C_FindObjectsInit(session, null_mut(), 0)))?;
        let mut objects = [0; 16];
        let mut count = 0;
        let answer = call!(self, C_FindObjects(session, objects.as_mut_ptr(), 16, &raw mut count));
        done(call!(self, C_FindObjectsFinal(session)))?;
        done(answer).map(|()| objects[..usize::try_from(count).unwrap()].to_vec())
    }

    /// How many objects have a boolean attribute with this value.
    pub(crate) fn count(&self, session: CK_SESSION_HANDLE, type_: CK_ATTRIBUTE_TYPE, value: bool) -> Result<usize> {
        let value = if value { CK_TRUE } else { CK_FALSE };
        let mut template = attribute(type_, &value);
        done(call!(self, C_FindObjectsInit(session, &raw mut template, 1)))?;
        let (mut objects, mut count) = ([0; 16], 0);
        done(call!(
            self,
            C_FindObjects(session, objects.as_mut_ptr(), 16, &raw mut count)
        ))?;
        done(call!(self, C_FindObjectsFinal(session)))?;
        Ok(usize::try_from(count).unwrap())
    }

    /// An attribute that is a boolean.
    pub(crate) fn boolean(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        type_: CK_ATTRIBUTE_TYPE,
    ) -> Result<bool> {
        let value: CK_BBOOL = CK_FALSE;
        let mut template = attribute(type_, &value);
        done(call!(self, C_GetAttributeValue(session, object, &raw mut template, 1)))?;
        // SAFETY: it points at `value`, which the module has written.
        Ok(unsafe { *template.pValue.cast::<CK_BBOOL>() } == CK_TRUE)
    }

    pub(crate) fn mechanisms(&self) -> Vec<CK_MECHANISM_TYPE> {
        let mut count = 0;
        done(call!(self, C_GetMechanismList(self.slot(), null_mut(), &raw mut count))).unwrap();
        let mut all = vec![0; usize::try_from(count).unwrap()];
        done(call!(
            self,
            C_GetMechanismList(self.slot(), all.as_mut_ptr(), &raw mut count)
        ))
        .unwrap();
        all
    }

    pub(crate) fn encrypt(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: &mut CK_MECHANISM,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        done(call!(self, C_EncryptInit(session, mechanism, key)))?;
        let mut output = [0; 256];
        let mut length = 256;
        let (from, from_length) = (data.as_ptr().cast_mut(), data.len() as CK_ULONG);
        let answer = call!(
            self,
            C_Encrypt(session, from, from_length, output.as_mut_ptr(), &raw mut length)
        );
        done(answer).map(|()| output[..usize::try_from(length).unwrap()].to_vec())
    }

    pub(crate) fn decrypt(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: &mut CK_MECHANISM,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        done(call!(self, C_DecryptInit(session, mechanism, key)))?;
        let mut output = [0; 256];
        let mut length = 256;
        let (from, from_length) = (data.as_ptr().cast_mut(), data.len() as CK_ULONG);
        let answer = call!(
            self,
            C_Decrypt(session, from, from_length, output.as_mut_ptr(), &raw mut length)
        );
        done(answer).map(|()| output[..usize::try_from(length).unwrap()].to_vec())
    }

    /// AES-CBC without padding, under an IV of zeros.
    pub(crate) fn cbc(&self, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Result<Vec<u8>> {
        let mut iv = [0; 16];
        let mut mechanism = CK_MECHANISM {
            mechanism: CKM_AES_CBC,
            pParameter: iv.as_mut_ptr().cast(),
            ulParameterLen: 16,
        };
        self.encrypt(session, &mut mechanism, key, &DATA_KEY)
    }
}

fn attribute<T>(type_: CK_ATTRIBUTE_TYPE, value: &T) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_,
        pValue: std::ptr::from_ref(value).cast_mut().cast(),
        ulValueLen: size_of::<T>() as CK_ULONG,
    }
}

/// A mechanism without parameters.
pub(crate) fn plain(mechanism: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism,
        ..CK_MECHANISM::default()
    }
}
