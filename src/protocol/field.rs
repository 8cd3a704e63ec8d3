//! Encoding and decoding of each type of field. The generated structs are fields too, and only call
//! these.

use std::ops::BitOr;

use bytes::Bytes;

use super::{Reader, Records, WireError, Writer};
use crate::types::Uuid;

/// The version to read or write, and whether it is flexible.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub(super) version: i16,
    pub(super) flexible: bool,
}

pub trait Field: Sized {
    fn read(input: &mut Reader, at: At) -> Result<Self, WireError>;
    fn write(&self, out: &mut Writer, at: At) -> Result<(), WireError>;

    /// Replaces each error code of a response, except 0, and removes the messages about them. Whether there was one.
    fn replace_errors(&mut self, _code: i16) -> bool {
        false
    }
}

macro_rules! number {
    ($($number:ty),*) => { $(
        impl Field for $number {
            fn read(input: &mut Reader, _: At) -> Result<Self, WireError> {
                Ok(<$number>::from_be_bytes(input.array()?))
            }

            fn write(&self, out: &mut Writer, _: At) -> Result<(), WireError> {
                out.put(&self.to_be_bytes());
                Ok(())
            }
        }
    )* };
}

number!(i8, i16, u16, i32, i64, f64);

impl Field for bool {
    fn read(input: &mut Reader, _: At) -> Result<Self, WireError> {
        let [byte] = input.array()?;
        Ok(byte != 0)
    }

    fn write(&self, out: &mut Writer, _: At) -> Result<(), WireError> {
        out.put(&[u8::from(*self)]);
        Ok(())
    }
}

impl Field for Uuid {
    fn read(input: &mut Reader, _: At) -> Result<Self, WireError> {
        Ok(Uuid(input.array()?))
    }

    fn write(&self, out: &mut Writer, _: At) -> Result<(), WireError> {
        out.put(&self.0);
        Ok(())
    }
}

impl Field for Option<String> {
    fn read(input: &mut Reader, at: At) -> Result<Self, WireError> {
        let Some(length) = input.string_length(at)? else { return Ok(None) };
        input.text(length).map(Some)
    }

    fn write(&self, out: &mut Writer, at: At) -> Result<(), WireError> {
        match self {
            Some(text) => text.write(out, at),
            None => out.string_length(None, at),
        }
    }
}

impl Field for String {
    fn read(input: &mut Reader, at: At) -> Result<Self, WireError> {
        Option::read(input, at)?.ok_or(WireError::Null)
    }

    fn write(&self, out: &mut Writer, at: At) -> Result<(), WireError> {
        out.string_length(Some(self.len()), at)?;
        out.put(self.as_bytes());
        Ok(())
    }
}

impl Field for Option<Bytes> {
    fn read(input: &mut Reader, at: At) -> Result<Self, WireError> {
        let Some(length) = input.length(at)? else { return Ok(None) };
        input.take(length).map(Some)
    }

    fn write(&self, out: &mut Writer, at: At) -> Result<(), WireError> {
        match self {
            Some(bytes) => bytes.write(out, at),
            None => out.length(None, at),
        }
    }
}

impl Field for Bytes {
    fn read(input: &mut Reader, at: At) -> Result<Self, WireError> {
        Option::read(input, at)?.ok_or(WireError::Null)
    }

    fn write(&self, out: &mut Writer, at: At) -> Result<(), WireError> {
        out.length(Some(self.len()), at)?;
        out.put_shared(self);
        Ok(())
    }
}

impl Field for Option<Records> {
    fn read(input: &mut Reader, at: At) -> Result<Self, WireError> {
        let Some(length) = input.length(at)? else { return Ok(None) };
        input.records(length).map(Some)
    }

    fn write(&self, out: &mut Writer, at: At) -> Result<(), WireError> {
        match self {
            Some(records) => records.write(out, at),
            None => out.length(None, at),
        }
    }
}

impl Field for Records {
    fn read(input: &mut Reader, at: At) -> Result<Self, WireError> {
        Option::read(input, at)?.ok_or(WireError::Null)
    }

    fn write(&self, out: &mut Writer, at: At) -> Result<(), WireError> {
        out.length(Some(self.len()), at)?;
        self.pieces().iter().for_each(|piece| out.put_piece(piece));
        Ok(())
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    fn read(input: &mut Reader, at: At) -> Result<Self, WireError> {
        let Some(count) = input.length(at)? else { return Ok(None) };
        let mut elements = input.elements(count)?;
        for _ in 0..count {
            elements.push(T::read(input, at)?);
        }
        Ok(Some(elements))
    }

    fn write(&self, out: &mut Writer, at: At) -> Result<(), WireError> {
        match self {
            Some(elements) => elements.write(out, at),
            None => out.count(None, at),
        }
    }

    fn replace_errors(&mut self, code: i16) -> bool {
        self.as_mut().is_some_and(|elements| elements.replace_errors(code))
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(input: &mut Reader, at: At) -> Result<Self, WireError> {
        Option::read(input, at)?.ok_or(WireError::Null)
    }

    fn write(&self, out: &mut Writer, at: At) -> Result<(), WireError> {
        out.count(Some(self.len()), at)?;
        self.iter().try_for_each(|element| element.write(out, at))
    }

    fn replace_errors(&mut self, code: i16) -> bool {
        self.iter_mut().map(|element| element.replace_errors(code)).fold(false, BitOr::bitor)
    }
}

/// A nullable struct starts with a byte: −1 for null, and 1 for a value, as Kafka writes it.
macro_rules! nullable_struct {
    ($name:ty) => {
        impl Field for Option<$name> {
            fn read(input: &mut Reader, at: At) -> Result<Self, WireError> {
                let mark: i8 = input.read(at)?;
                if mark < 0 { Ok(None) } else { input.read(at).map(Some) }
            }

            fn write(&self, out: &mut Writer, at: At) -> Result<(), WireError> {
                match self {
                    None => (-1i8).write(out, at),
                    Some(value) => {
                        1i8.write(out, at)?;
                        value.write(out, at)
                    }
                }
            }

            fn replace_errors(&mut self, code: i16) -> bool {
                self.as_mut().is_some_and(|value| value.replace_errors(code))
            }
        }
    };
}

pub(super) use nullable_struct;

/// Fails on null, in versions in which a field cannot be null.
pub(super) fn not_null<T>(field: &Option<T>) -> Result<(), WireError> {
    if field.is_some() { Ok(()) } else { Err(WireError::Null) }
}
