//! Faults of single calls.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;
use std::time::Instant;

use cryptoki_sys::*;
use token_shim::alone;
use token_shim::token::Token;

use crate::driver::DATA_KEY;
use crate::driver::Driver;
use crate::driver::call;

#[test]
fn without_a_control_file_everything_is_forwarded_and_recorded() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        let key = driver.generate(session).unwrap();
        driver.cbc(session, key).unwrap();
        driver.cbc(session, key).unwrap();
        assert_eq!(token.calls("C_Encrypt"), 2);
        assert_eq!(token.calls("C_Login"), 1);
        assert_eq!(token.calls("C_Initialize"), 1);
        assert!(token.record().iter().all(|(process, _)| *process == std::process::id()));
        token.forget_calls();
        driver.finalize().unwrap();
        let record: Vec<_> = token.record().into_iter().map(|(_, function)| function).collect();
        assert_eq!(record, ["C_Finalize"]);
    });
}

#[test]
fn a_failure_is_counted_over_initialisations() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        let key = driver.generate(session).unwrap();
        token.set("C_EncryptInit fail 0x30 after 1 times 3 # the second to the fourth");
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(driver.cbc(session, key).map(|_| ()));
        }
        driver.finalize().unwrap();
        driver.initialize().unwrap();
        let session = driver.ready();
        let key = driver.find(session).unwrap()[0];
        for _ in 0..2 {
            answers.push(driver.cbc(session, key).map(|_| ()));
        }
        assert_eq!(answers, [Ok(()), Err(0x30), Err(0x30), Err(0x30), Ok(())]);
    });
}

#[test]
fn a_control_file_written_anew_counts_anew() {
    alone::run(|token| {
        let driver = Driver::new();
        for _ in 0..2 {
            token.set("C_OpenSession fail 0x30 times 1");
            assert_eq!(driver.open_with(0).map(|_| ()), Err(0x30));
            driver.open_with(0).unwrap();
        }
    });
}

#[test]
fn a_failed_encryption_leaves_its_operation_active() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        let key = driver.generate(session).unwrap();
        token.set("C_Encrypt fail 0x30 times 1");
        assert_eq!(driver.cbc(session, key), Err(0x30));
        assert_eq!(driver.cbc(session, key), Err(CKR_OPERATION_ACTIVE));
    });
}

#[test]
fn a_delay_is_of_one_call_and_holds_up_no_other() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        let key = driver.generate(session).unwrap();
        token.set("C_Encrypt,C_Decrypt delay 300ms");
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| driver.cbc(driver.open(), key).unwrap());
            }
        });
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(300), "{took:?}");
        assert!(took < Duration::from_millis(8 * 300), "one after the other: {took:?}");
    });
}

#[test]
fn a_hung_call_never_returns_and_others_do() {
    let ended = alone::outcome(|token| {
        let driver: &'static Driver = Box::leak(Box::new(Driver::new()));
        let session = driver.ready();
        let key = driver.generate(session).unwrap();
        token.set("C_Encrypt hang");
        let thread = std::thread::spawn(move || driver.cbc(session, key));
        while token.calls("C_Encrypt") == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        driver.open();
        std::thread::sleep(Duration::from_millis(100));
        assert!(!thread.is_finished());
        std::process::exit(42);
    });
    assert!(ended.is_none_or(|output| output.status.code() == Some(42)));
}

#[test]
fn star_is_every_function() {
    alone::run(|token| {
        token.set("* fail 0x5 times 1");
        let mut list = std::ptr::null_mut();
        // SAFETY: as every caller does it.
        let library = unsafe { libloading::Library::new(token_shim::path()) }.unwrap();
        let get = unsafe {
            library
                .get::<unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV>(b"C_GetFunctionList")
                .unwrap()
        };
        // SAFETY: a pointer to a pointer.
        let driver = unsafe {
            assert_eq!(get(&raw mut list), CKR_OK);
            Driver { list: *list }
        };
        assert_eq!(driver.initialize(), Err(CKR_GENERAL_ERROR));
        driver.initialize().unwrap();
    });
}

/// How a process ends that makes a call under this control file.
fn end(token: &Token, control: &str) {
    let driver = Driver::new();
    token.set(control);
    driver.open();
}

#[test]
fn a_crash_is_a_segmentation_fault() {
    let ended = alone::outcome(|token| end(token, "C_OpenSession crash"));
    assert!(ended.is_none_or(|output| output.status.signal() == Some(libc::SIGSEGV)));
}

#[test]
fn an_abort_is_one() {
    let ended = alone::outcome(|token| end(token, "C_OpenSession abort"));
    assert!(ended.is_none_or(|output| output.status.signal() == Some(libc::SIGABRT)));
}

#[test]
fn an_exit_has_its_code() {
    let ended = alone::outcome(|token| end(token, "C_OpenSession exit 7"));
    assert!(ended.is_none_or(|output| output.status.code() == Some(7)));
}

#[test]
fn a_line_that_is_not_understood_ends_the_process() {
    let ended = alone::outcome(|token| {
        std::fs::write(token.path("control"), "C_Encrypt explode").unwrap();
        Driver::new();
    });
    if let Some(output) = ended {
        assert_eq!(output.status.signal(), Some(libc::SIGABRT));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            text.contains(r#"line 1, "C_Encrypt explode": no such action"#),
            "{text}"
        );
    }
}

#[test]
fn noise_is_on_both_streams() {
    let ended = alone::outcome(|token| end(token, "C_OpenSession noise"));
    if let Some(output) = ended {
        let noise = "vendor: this is a line that nobody asked for\n";
        assert!(String::from_utf8_lossy(&output.stdout).contains(noise));
        assert!(String::from_utf8_lossy(&output.stderr).contains(noise));
    }
}

#[test]
fn a_leak_grows_the_process_with_every_call() {
    alone::run(|token| {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let driver = Driver::new();
        token.set("C_OpenSession leak 16MiB");
        let before = resident();
        for _ in 0..4 {
            driver.open();
        }
        assert!(
            resident() >= before + 4 * 16 * 1024,
            "{before} KiB before, {} after",
            resident()
        );
    });
}

#[test]
fn outputs_are_altered() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        let key = driver.generate(session).unwrap();
        let good = driver.cbc(session, key).unwrap();
        token.set("C_Encrypt flip times 1\nC_Encrypt longer after 1 times 1\nC_Encrypt shorter after 2 times 1");
        let mut outputs = Vec::new();
        for _ in 0..4 {
            outputs.push(driver.cbc(session, key).unwrap());
        }
        assert_eq!(outputs[0][0], good[0] ^ 1);
        assert_eq!(outputs[0][1..], good[1..]);
        assert_eq!((outputs[1].len(), outputs[2].len()), (good.len() + 1, good.len() - 1));
        assert_eq!(outputs[3], good);
    });
}

#[test]
fn asking_for_the_size_leaves_the_operation_running() {
    alone::run(|_| {
        let driver = Driver::new();
        let session = driver.ready();
        let key = driver.generate(session).unwrap();
        let mut mechanism = crate::driver::plain(CKM_AES_ECB);
        assert_eq!(call!(driver, C_EncryptInit(session, &raw mut mechanism, key)), CKR_OK);
        let (data, mut length) = (DATA_KEY.as_ptr().cast_mut(), 0);
        let size = call!(
            driver,
            C_Encrypt(session, data, 32, std::ptr::null_mut(), &raw mut length)
        );
        assert_eq!((size, length), (CKR_OK, 32));
        let mut output = [0; 32];
        assert_eq!(
            call!(
                driver,
                C_Encrypt(session, data, 32, output.as_mut_ptr(), &raw mut length)
            ),
            CKR_OK
        );
    });
}

#[test]
fn too_many_calls_in_a_second_are_a_device_error() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        let key = driver.generate(session).unwrap();
        token.set("throttle 5");
        // Far more than a second holds.
        let answers: Vec<_> = (0..50).map(|_| driver.cbc(driver.open(), key).map(|_| ())).collect();
        assert!(answers.starts_with(&[Ok(()); 5]), "{answers:?}");
        assert!(answers.contains(&Err(CKR_DEVICE_ERROR)), "{answers:?}");
    });
}
