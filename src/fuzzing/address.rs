use crate::channel::{Address, Target};
use crate::error::{OpenError, OpenErrorKind};
use crate::sys::Errno;

/// The bytes are an address as a text: whatever it is, it is taken or refused, and what is taken comes back.
pub fn address(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    let believed = Address::from(text);
    assert_eq!(believed, Address::from(text.to_owned()));
    match text.parse::<Address>() {
        Ok(address) => {
            assert_eq!(address, believed);
            // It prints as something that means the same.
            let printed = address.to_string();
            assert_eq!(printed.parse::<Address>().ok().as_ref(), Some(&address), "{printed:?}");
            told_in_one_line(&OpenError::system(&address, "shmget", Errno::ENOENT));
        }
        Err(error) => {
            assert_eq!(error.kind(), OpenErrorKind::InvalidAddress);
            told_in_one_line(&error);
            // The same from every call that takes an address.
            let refused = believed.target().expect_err("it was refused before");
            assert_eq!(refused.kind(), OpenErrorKind::InvalidAddress);
        }
    }
    // A name is looked for under its hash, which is never that of private segments.
    let name = Address::name(text);
    match name.target() {
        Ok(Target::Key { key, name: Some(kept) }) => {
            assert!(key != 0 && kept == text);
            assert_eq!(believed, name);
        }
        Ok(other) => panic!("{text:?} is no name but {other:?}"),
        Err(error) => told_in_one_line(&error),
    }
}

fn told_in_one_line(error: &OpenError) {
    let text = error.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
}
